# SPDX-License-Identifier: GPL-2.0-or-later
# Waits for a screen that comes only after WAIT seconds: time to pause on a mismatch in developer mode.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-console');
    enter_cmd('clear; sleep ' . get_var('WAIT', 8) . '; chvt 1');
    assert_screen('lab-banner', 120);
}

1;

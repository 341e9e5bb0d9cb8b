# SPDX-License-Identifier: GPL-2.0-or-later
# Boots the guest and waits for its banner, on the serial line and on the screen.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    wait_serial('openQA lab guest is ready', timeout => 180) or die 'the guest does not boot';
    assert_screen('lab-banner', 90);
}

sub test_flags ($self) { return {fatal => 1} }

1;

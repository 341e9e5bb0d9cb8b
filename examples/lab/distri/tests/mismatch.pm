# SPDX-License-Identifier: GPL-2.0-or-later
# The screen never looks as expected: the candidates and the screen are in the result.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('sut');
    send_key('alt-f1');
    assert_screen('lab-absent', 3);
}

sub test_flags ($self) { return {ignore_failure => 1} }

1;

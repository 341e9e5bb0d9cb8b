# SPDX-License-Identifier: GPL-2.0-or-later
# Boots the guest and waits for its banner, on the screen and on the serial line.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    wait_serial('openQA lab guest is ready', timeout => 120) or die 'the guest does not boot';
    save_screenshot;
}

sub test_flags ($self) { return {fatal => 1} }

1;

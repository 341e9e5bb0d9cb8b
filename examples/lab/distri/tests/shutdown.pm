# SPDX-License-Identifier: GPL-2.0-or-later
# Switches the guest off.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-console');
    enter_cmd('poweroff -f');
    assert_shutdown(120);
}

sub test_flags ($self) { return {fatal => 1} }

1;

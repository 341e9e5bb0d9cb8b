# SPDX-License-Identifier: GPL-2.0-or-later
# A snapshot is taken after this module.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-serial');
    assert_script_run('echo before > /tmp/state');
}

sub test_flags ($self) { return {milestone => 1} }

1;

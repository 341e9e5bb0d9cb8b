# SPDX-License-Identifier: GPL-2.0-or-later
# What this module does is undone: the last snapshot is loaded after it although it passes.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-serial');
    assert_script_run('echo after > /tmp/state');
}

sub test_flags ($self) { return {always_rollback => 1, important => 1} }

1;

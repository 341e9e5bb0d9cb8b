# SPDX-License-Identifier: GPL-2.0-or-later
# A child of a parallel cluster: waits for its parent, then for all others.
use Mojo::Base 'lab_test', -signatures;
use lockapi;
use testapi;

sub run ($self) {
    mutex_wait('server_ready');
    select_console('root-serial');
    assert_script_run('echo "a client waits"');
    barrier_wait('all_started');
}

1;

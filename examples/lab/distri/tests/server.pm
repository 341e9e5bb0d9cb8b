# SPDX-License-Identifier: GPL-2.0-or-later
# The parent of a parallel cluster: creates barrier and mutex, works with its children, outlives them.
use Mojo::Base 'lab_test', -signatures;
use lockapi;
use mmapi;
use testapi;

sub run ($self) {
    barrier_create('all_started', get_var('CLUSTER_SIZE', 2));
    mutex_create('server_ready');
    select_console('root-serial');
    assert_script_run('echo "the server waits"');
    barrier_wait('all_started');
    record_info('children', join("\n", sort { $a <=> $b } map { int } keys %{get_children()}));
    # the owner of a lock must not end before those who wait for it
    wait_for_children;
}

1;

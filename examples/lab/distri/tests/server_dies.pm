# SPDX-License-Identifier: GPL-2.0-or-later
# The parent of a parallel cluster that fails while its child waits for it.
use Mojo::Base 'lab_test', -signatures;
use lockapi;
use mmapi;
use testapi;

sub run ($self) {
    barrier_create('all_started', get_var('CLUSTER_SIZE', 2));
    mutex_create('server_ready');
    $self->wait_until_shown($_, 'client') for keys %{get_children()};
    die "the parent fails\n";
}

sub test_flags ($self) { return {fatal => 1} }

1;

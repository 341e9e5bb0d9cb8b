# SPDX-License-Identifier: GPL-2.0-or-later
# A child of a parallel cluster that fails while its parent waits for it.
use Mojo::Base 'lab_test', -signatures;
use lockapi;
use mmapi;
use testapi;

sub run ($self) {
    mutex_wait('server_ready');
    $self->wait_until_shown($_, 'server') for @{get_parents()};
    die "the child fails\n";
}

sub test_flags ($self) { return {fatal => 1} }

1;

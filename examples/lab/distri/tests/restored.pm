# SPDX-License-Identifier: GPL-2.0-or-later
# The guest is as it was at the last snapshot.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-serial');
    assert_script_run('grep before /tmp/state');
}

1;

# SPDX-License-Identifier: GPL-2.0-or-later
# Commands on both virtio serial terminals, their output in the results and in the terminals' own logs.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-serial');
    assert_script_run('cat /proc/version');
    my $lines = script_output('seq 1 50 | while read n; do echo "serial line $n"; done');
    die 'lines are missing' unless $lines =~ /serial line 50/;
    my $status = script_run('false');
    die "false returned $status" unless $status == 1;
    select_console('user-serial');
    assert_script_run('echo "this is the second terminal"');
}

1;

# SPDX-License-Identifier: GPL-2.0-or-later
# Kills the virtual machine of this very job, as the kernel would when memory runs out.
use Mojo::Base 'lab_test', -signatures;
use Cwd qw(getcwd);
use testapi;

sub run ($self) {
    record_info('crash', 'qemu is killed now');
    my $directory = getcwd();
    for my $entry (glob '/proc/[0-9]*') {
        my $program = readlink "$entry/exe" // next;
        my $where = readlink "$entry/cwd" // next;
        kill KILL => $entry =~ s{\D+}{}r if $program =~ /qemu-system/ && $where eq $directory;
    }
    # isotovideo notices by itself; a command to the backend at this moment would make it die in another way
    sleep 60;
    die "the virtual machine was not missed\n";
}

1;

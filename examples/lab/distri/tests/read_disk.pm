# SPDX-License-Identifier: GPL-2.0-or-later
# Reads what another job's write_disk left on the disk.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-serial');
    assert_script_run('mount -t ext4 /dev/vda /mnt');
    my $word = script_output('cat /mnt/word');
    die "the disk says '$word'" unless $word =~ /written by \d+-/;
    record_info('found', $word);
    assert_script_run('umount /mnt');
}

1;

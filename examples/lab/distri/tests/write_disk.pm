# SPDX-License-Identifier: GPL-2.0-or-later
# Stands for an installation: makes a file system on the disk and leaves a word in it.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-serial');
    assert_script_run('mke2fs /dev/vda', 120);
    assert_script_run('mount -t ext4 /dev/vda /mnt');
    assert_script_run('echo "written by ' . get_required_var('NAME') . '" > /mnt/word');
    assert_script_run('head -c 3000000 /dev/urandom > /mnt/ballast; sync');
    assert_script_run('umount /mnt');
}

1;

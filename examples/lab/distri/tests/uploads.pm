# SPDX-License-Identifier: GPL-2.0-or-later
# Uploaded logs: a text, a file with every byte value, and a larger one that was given a name.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-serial');
    assert_script_run('cd /tmp');
    assert_script_run('dmesg > dmesg.txt');
    upload_logs('/tmp/dmesg.txt');
    assert_script_run('for i in $(seq 0 255); do printf "\\\\$(printf %03o $i)"; done > every-byte.bin');
    upload_logs('/tmp/every-byte.bin');
    assert_script_run('head -c 300000 /dev/urandom > random.bin');
    upload_logs('/tmp/random.bin', log_name => 'renamed-random.bin');
    assert_script_run('md5sum *.bin');
}

1;

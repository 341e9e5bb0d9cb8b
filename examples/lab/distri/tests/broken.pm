# SPDX-License-Identifier: GPL-2.0-or-later
# Dies; its post_fail_hook collects a log; the next module starts from the last snapshot.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-serial');
    assert_script_run('test -e /no/such/file');
}

sub post_fail_hook ($self) {
    assert_script_run('dmesg > /tmp/after-failure.txt');
    upload_logs('/tmp/after-failure.txt');
}

1;

# SPDX-License-Identifier: GPL-2.0-or-later
# A soft failure that the module records itself.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    record_soft_failure('lab#1: a known trouble');
    select_console('root-console');
    assert_script_run('true');
}

1;

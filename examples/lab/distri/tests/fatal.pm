# SPDX-License-Identifier: GPL-2.0-or-later
# Dies and takes the job with it: the modules after this one are not run.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    save_screenshot;
    die "this failure is fatal\n";
}

sub test_flags ($self) { return {fatal => 1} }

1;

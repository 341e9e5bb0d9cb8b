# SPDX-License-Identifier: GPL-2.0-or-later
package lab_test;
# The base of the lab's modules.
use Mojo::Base 'basetest', -signatures;

# must be a hash reference in every case: a bare block would end the job with an API failure
sub test_flags ($self) { return {} }

1;

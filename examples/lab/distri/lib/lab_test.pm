# SPDX-License-Identifier: GPL-2.0-or-later
package lab_test;
# The base of the lab's modules: a failed module leaves its screen behind.
use Mojo::Base 'basetest', -signatures;

sub test_flags ($self) { return {} }

1;

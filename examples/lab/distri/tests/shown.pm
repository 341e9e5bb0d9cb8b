# SPDX-License-Identifier: GPL-2.0-or-later
# Runs until the web UI shows that it does. What comes after it is then surely reported after it, whatever the pace of
# the worker is.
use Mojo::Base 'lab_test', -signatures;
use mmapi;

sub run ($self) { $self->wait_until_shown(get_current_job_id(), 'shown') }

1;

# SPDX-License-Identifier: GPL-2.0-or-later
package lab_test;
# The base of the lab's modules.
use Mojo::Base 'basetest', -signatures;
use mmapi;

# must be a hash reference in every case: a bare block would end the job with an API failure
sub test_flags ($self) { return {} }

# Until the web UI shows that another job runs this module. Workers tell their web UI every 10 s how far they are,
# and what it does not know of a job when it ends this job because of another one, it never learns.
sub wait_until_shown ($self, $job_id, $module) {
    my $shown = 0;
    until ($shown) {
        my $job = api_call(get => "jobs/$job_id/details")->json->{job};
        $shown = grep { $_->{name} eq $module && $_->{result} eq 'running' } @{$job->{testresults}};
        sleep 1 unless $shown;
    }
}

1;

# SPDX-License-Identifier: GPL-2.0-or-later
# Chooses the modules of a job by its setting VARIANT; see examples/lab/variants.py for what each is to show.
use Mojo::Base -strict, -signatures;
use testapi qw(get_required_var);
use autotest;
use lab_distribution;

testapi::set_distribution(lab_distribution->new);

my %modules = (
    plain => [qw(boot console texts needles serial uploads snapshot rollback shutdown)],
    short => [qw(boot shutdown)],
);

my $variant = get_required_var('VARIANT');
my $names = $modules{$variant} or die "VARIANT=$variant is not known to the lab's tests\n";
autotest::loadtest("tests/$_.pm") for @$names;

1;

# SPDX-License-Identifier: GPL-2.0-or-later
# Chooses the modules of a job by its settings VARIANT and, in jobs that belong together, ROLE.
# What each variant is to show stands in examples/lab/variants.py.
use Mojo::Base -strict, -signatures;
use testapi qw(get_var get_required_var);
use autotest;
use lab_distribution;

testapi::set_distribution(lab_distribution->new);

my @short = qw(boot shutdown);
my %modules = (
    plain => [qw(boot console texts needles serial uploads milestone change restored shutdown)],
    short => [@short],
    softfailed => [qw(boot softfail workaround shutdown)],
    failed => [qw(boot milestone broken mismatch console shutdown)],
    fatal => [qw(boot console fatal texts shutdown)],
    crash => [qw(boot console crash shutdown)],
    steps => [qw(boot steps shutdown)],
    flood => [qw(boot flood shutdown)],
    developer => [qw(boot console waiting texts shutdown)],
    waiting => [qw(boot shown waiting shutdown)],
    assets => [qw(boot assets shutdown)],
    'pair/parent' => [qw(boot server shutdown)],
    'pair/child' => [qw(boot client shutdown)],
    'dying/parent' => [qw(boot server_dies shutdown)],
    'dying/child' => [qw(boot client shutdown)],
    'failing/parent' => [qw(boot server shutdown)],
    'failing/child' => [qw(boot client_fails shutdown)],
    'disk/install' => [qw(boot write_disk shutdown)],
    'disk/use' => [qw(boot read_disk shutdown)],
    'fails' => [qw(boot fatal shutdown)],
);

my $variant = get_var('MODULES') || get_required_var('VARIANT');
die "this is how a test distribution that cannot be loaded looks\n" if $variant eq 'unloadable';
if ($variant eq 'long') {
    # parts of half a minute, so that the running module changes
    my $parts = int((get_var('DURATION', 600) + 29) / 30);
    autotest::loadtest('tests/boot.pm');
    autotest::loadtest('tests/part.pm', name => "part_$_") for 1 .. $parts;
    autotest::loadtest('tests/shutdown.pm');
}
else {
    my $names = $modules{$variant} or die "VARIANT=$variant is not known to the lab's tests\n";
    autotest::loadtest("tests/$_.pm") for @$names;
}

1;

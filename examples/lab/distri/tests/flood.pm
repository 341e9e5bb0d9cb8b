# SPDX-License-Identifier: GPL-2.0-or-later
# Writes FLOOD_MB megabytes a minute into autoinst-log.txt, and a bit to the serial terminal, for DURATION seconds.
use Mojo::Base 'lab_test', -signatures;
use Time::HiRes qw(sleep time);
use testapi;

sub run ($self) {
    my ($rate, $duration) = (get_var('FLOOD_MB', 50), get_var('DURATION', 60));
    select_console('root-serial');
    my $line = 'flood ' x 170;
    my $begin = time;
    my $written = 0;
    while ((my $passed = time - $begin) < $duration) {
        while ($written < $passed * $rate * 1_000_000 / 60) {
            bmwqemu::diag($line . $written);
            $written += length($line) + 60;
        }
        sleep 0.1;
    }
    assert_script_run('seq 1 2000');
}

1;

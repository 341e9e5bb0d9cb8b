# SPDX-License-Identifier: GPL-2.0-or-later
# Many steps: as many screenshots as the setting SCREENSHOTS says, and as many texts as TEXTS says.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    my ($screenshots, $texts) = (get_var('SCREENSHOTS', 300), get_var('TEXTS', 100));
    # a screen that changes all the time, so that most screenshots differ
    select_console('root-serial');
    my $pid = background_script_run('n=0; while :; do n=$((n+1)); echo "$n $n $n $n"; usleep 20000; done > /dev/tty3');
    select_console('log-console');
    my $written = 0;
    for my $n (1 .. $screenshots) {
        save_screenshot;
        my $due = int($n * $texts / $screenshots);
        record_info("text $written", "text number $written") while $written++ < $due;
        $written = $due;
    }
    select_console('root-serial');
    assert_script_run("kill $pid");
}

1;

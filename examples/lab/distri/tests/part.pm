# SPDX-License-Identifier: GPL-2.0-or-later
# Half a minute of a long job: a line on the serial terminal, a changed screen and a screenshot each 2 s.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    my $begin = time;
    for (my $n = 1; time - $begin < 30; $n++) {
        select_console('root-serial');
        assert_script_run("echo \"$self->{name} line $n at \$(cut -d ' ' -f 1 /proc/uptime)\"; cat /proc/uptime > /dev/tty2");
        select_console('root-console');
        save_screenshot;
        wait_screen_change(sub { enter_cmd("echo $self->{name} step $n") }, 5);
        sleep 1;
    }
}

1;

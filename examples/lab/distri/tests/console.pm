# SPDX-License-Identifier: GPL-2.0-or-later
# Types on a text console: a matching needle with several areas, screenshots, results on the serial line.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-console');
    assert_screen('lab-shell', 30);
    assert_script_run('clear; uname -s');
    enter_cmd('echo "a line on the screen"');
    wait_still_screen(1, 10);
    save_screenshot;
    enter_cmd('clear');
}

1;

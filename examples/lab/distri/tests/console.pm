# SPDX-License-Identifier: GPL-2.0-or-later
# Types on a text console: a matching needle with two areas, screenshots, a result on the serial line.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-console');
    assert_screen('lab-shell', 90);
    assert_script_run('uname');
    save_screenshot;
}

1;

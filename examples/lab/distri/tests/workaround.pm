# SPDX-License-Identifier: GPL-2.0-or-later
# A needle with the property "workaround" matches, which is a soft failure too.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('sut');
    send_key('alt-f1');
    assert_screen('lab-workaround', 90);
}

1;

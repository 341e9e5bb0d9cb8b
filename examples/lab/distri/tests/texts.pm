# SPDX-License-Identifier: GPL-2.0-or-later
# Text boxes: short, empty, many lines, and one that looks like markup.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    record_info('short', 'one line');
    record_info('empty');
    record_info('long', join("\n", map { "line $_ of a longer text" } 1 .. 200));
    # bytes of UTF-8: os-autoinst writes texts without encoding them
    record_info('markup', "<b>not bold</b> & \"quoted\" \xc3\xa4\xe2\x82\xac\n", resultname => 'named-result');
    record_info('looks bad', 'a box marked as failed does not fail the module', result => 'fail');
}

1;

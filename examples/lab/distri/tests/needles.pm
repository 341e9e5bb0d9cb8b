# SPDX-License-Identifier: GPL-2.0-or-later
# Needles that match among candidates, that do not match, and a tag for which there is no needle at all.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('sut');
    send_key('alt-f1');
    assert_screen([qw(lab-absent lab-banner)], 90);
    die 'a needle matched that cannot' if check_screen('lab-absent', 1);
    die 'a needle matched that does not exist' if check_screen('lab-no-such-needle', 0);
    die 'the tag of the match is wrong' unless check_screen('lab-banner', 30) && match_has_tag('lab-banner');
}

1;

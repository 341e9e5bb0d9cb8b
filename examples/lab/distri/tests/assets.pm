# SPDX-License-Identifier: GPL-2.0-or-later
# Uploads files as assets, a public and a private one; the names are the job's settings.
use Mojo::Base 'lab_test', -signatures;
use testapi;

sub run ($self) {
    select_console('root-serial');
    assert_script_run('cd /tmp');
    my $size = get_var('ASSET_BYTES', 2500000);
    for my $scope (qw(PUBLIC PRIVATE)) {
        my $name = get_required_var("${scope}_NAME");
        assert_script_run("head -c $size /dev/urandom > $name");
        upload_asset("/tmp/$name", $scope eq 'PUBLIC');
    }
    assert_script_run('sha256sum ' . get_required_var('PUBLIC_NAME') . ' ' . get_required_var('PRIVATE_NAME'));
}

1;

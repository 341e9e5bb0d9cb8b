# SPDX-License-Identifier: GPL-2.0-or-later
package lab_distribution;
# What is special about the lab's guest: its consoles. Nothing of testapi may be imported here, since its
# script_run and others would override the methods of distribution, which call them in turn.
use Mojo::Base 'distribution', -signatures;
use Cwd qw(cwd);
use OpenQA::Isotovideo::Interface;

sub init ($self) {
    $self->SUPER::init();
    # os-autoinst gave the second virtio console a name of its own later
    my $second = $OpenQA::Isotovideo::Interface::version > 34 ? 'virtio_console_user' : 'virtio_console1';
    $self->add_console('root-console', 'tty-console', {tty => 2});
    $self->add_console('log-console', 'tty-console', {tty => 3});
    $self->add_console('root-serial', 'virtio-terminal', {});
    $self->add_console('user-serial', 'virtio-terminal', {socked_path => cwd() . "/$second"});
}

1;

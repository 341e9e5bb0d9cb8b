#!/usr/bin/perl
# Reads configuration files with openQA's own Perl modules and prints what they hold.
#
# One JSON request a line on standard input, one JSON answer a line on standard output:
#   ["ini", [PATH...]]             the files, each imported on top of the one before, as OpenQA::Config does
#   ["settings", DIRECTORY, N]     what OpenQA::Worker::Settings makes of workers.ini for instance N
#   ["credentials", DIRECTORY, HOST]   what OpenQA::UserAgent finds in client.conf
#   ["has_ranges"]                 whether this openQA knows ranges, `+=` and drop-in directories
# Strings are bytes on Perl's side and go through as ISO-8859-1.
use strict;
use warnings;
use Config::IniFiles;
use JSON::PP;

my $library = $ENV{OPENQA_LIB} || '/usr/share/openqa/lib';
unshift @INC, $library;
my $json = JSON::PP->new->latin1->canonical->allow_nonref;
$| = 1;
local $SIG{__WARN__} = sub { };    # undefined values and the like: openQA goes on, and so does this

sub ini {
    my ($paths) = @_;
    my ($config, @errors);
    for my $path (@$paths) {
        my @import = $config ? (-import => $config) : ();
        my $next = Config::IniFiles->new(-file => $path, @import);
        push @errors, [@Config::IniFiles::errors];
        $config = $next if $next;
    }
    my @sections;
    for my $section ($config ? $config->Sections : ()) {
        my @entries;
        for my $key ($config->Parameters($section)) {
            my @values = $config->val($section, $key);
            push @entries, [$key, [map { "$_" } @values]];
        }
        push @sections, [$section, \@entries];
    }
    return {sections => \@sections, errors => \@errors};
}

sub settings {
    my ($directory, $instance) = @_;
    require OpenQA::Worker::Settings;
    local $ENV{OPENQA_CONFIG} = $directory;
    my $settings = OpenQA::Worker::Settings->new($instance);
    return {
        global => $settings->global_settings,
        hosts => $settings->webui_hosts,
        host_settings => $settings->webui_host_specific_settings,
    };
}

sub credentials {
    my ($directory, $host) = @_;
    require OpenQA::UserAgent;
    local $ENV{OPENQA_CONFIG} = $directory;
    my $agent = OpenQA::UserAgent->new(api => $host);
    return [$agent->apikey, $agent->apisecret];
}

my %answer = (
    ini => \&ini,
    settings => \&settings,
    credentials => \&credentials,
    has_ranges => sub { -e "$library/OpenQA/Config.pm" ? JSON::PP::true : JSON::PP::false },
);

while (my $line = <STDIN>) {
    my ($what, @arguments) = @{$json->decode($line)};
    my $answer = eval { $answer{$what}->(@arguments) };
    print $json->encode(defined $answer ? {answer => $answer} : {died => "$@"}), "\n";
}

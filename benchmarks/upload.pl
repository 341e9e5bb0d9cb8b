#!/usr/bin/env perl
# Uploads a file as a job's public asset with openQA's own client, in one process: what transports are measured against.
# usage: upload.pl URL KEY SECRET JOB FILE NAME CHUNK_SIZE

use Mojo::Base -strict, -signatures;
use lib '/usr/share/openqa/lib';
use OpenQA::Client;
use Mojo::URL;

my ($url, $key, $secret, $job, $file, $name, $chunk_size) = @ARGV;
my $client = OpenQA::Client->new(api => Mojo::URL->new($url)->host, apikey => $key, apisecret => $secret);
$client->base_url(Mojo::URL->new($url));
my $failed;
$client->upload->on('upload_chunk.fail' => sub (@) { $failed++ });
$client->upload->on('upload_chunk.error' => sub (@) { die "upload failed\n" });
$client->upload->asset($job => {file => $file, name => $name, asset => 'public', chunk_size => $chunk_size, local => 0});
say $failed // 0;

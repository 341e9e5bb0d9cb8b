"""What we write, read by Perl: Storable, Mojolicious and openQA's own modules."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pseudoworker.openqa.bodies import file_part
from pseudoworker.openqa.chunks import pack, unpadded
from pseudoworker.openqa.signing import signed_headers
from pseudoworker.openqa.urls import Base, path_and_query

pytestmark = pytest.mark.real

OPENQA_LIB = Path("/usr/share/openqa/lib")

NAMES = [
    *(f"a{chr(code)}b" for code in range(32, 127) if chr(code) != "/"),
    "Gerät 1.png",
    "100%25.txt",
    "…",
    "\U0001f600",
    "..a",
]


def perl(script: str, stdin: bytes, *arguments: str, openqa: bool = False) -> Any:
    """The JSON that a Perl script prints."""
    if openqa and not OPENQA_LIB.is_dir():
        pytest.skip("openQA is not installed here")
    command = ["perl", *(["-I", str(OPENQA_LIB)] if openqa else []), "-e", script, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def chunk(content: bytes) -> bytes:
    total = unpadded(hashlib.sha256(content).digest())
    return pack(content, name="disk ü.qcow2", index=2, total=2, start=10**12, total_cksum=total)


def test_storable_thaws_a_chunk() -> None:
    script = "use Storable; use JSON::PP; binmode STDIN; local $/; print encode_json(Storable::thaw(<STDIN>))"
    content = bytes(range(256)) * 3
    thawed = perl(script, chunk(content))
    assert bytes.fromhex(thawed["content"]) == content
    assert (thawed["start"], thawed["end"]) == ("1000000000000", "1000000000768")
    assert base64.b64decode(thawed["cksum"] + "=") == hashlib.sha1(content).digest()


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 1000], ids=["empty", "one", "many"])
def test_openqa_takes_a_chunk(content: bytes, tmp_path: Path) -> None:
    script = """
        use Mojo::Base -strict; use OpenQA::File; use Mojo::JSON 'encode_json';
        binmode STDIN; local $/;
        my $chunk = OpenQA::File->new(file => '/dev/null')->deserialize(<STDIN>);
        $chunk->decode_content;
        $chunk->write_content($ARGV[0]);
        my $intact = $chunk->verify_content($ARGV[0]) ? 1 : 0;
        my $whole = OpenQA::File->file_digest($ARGV[0]) eq $chunk->total_cksum ? 1 : 0;
        print encode_json({intact => $intact, whole => $whole, last => $chunk->is_last ? 1 : 0});
    """
    written = tmp_path / "disk"
    checksum = unpadded(hashlib.sha256(content).digest())
    image = pack(content, name="disk", index=1, total=1, start=0, total_cksum=checksum)
    assert perl(script, image, str(written), openqa=True) == {"intact": 1, "whole": 1, "last": 1}
    assert written.read_bytes() == content


def test_mojolicious_writes_our_urls_back_unchanged() -> None:
    base = Base.parse("http://h/openqa")
    urls = [base.join(f"/tests/1/file/{name}", {name: name, "b": name}) for name in NAMES]
    script = r"""
        use Mojo::URL; use Mojo::JSON 'encode_json'; my @back;
        while (<STDIN>) {
            chomp;
            my $url = Mojo::URL->new($_);
            my $raw = $url->clone->to_string;
            $url->path->parts; $url->query->pairs;    # parsed, as after routing and validation
            push @back, [$raw, $url->to_string];
        }
        print encode_json(\@back);
    """
    assert perl(script, "\n".join(urls).encode()) == [[url, url] for url in urls]


def test_openqas_client_makes_the_same_signature() -> None:
    url = Base.parse("http://h/openqa").join("/api/v1/job_settings/jobs", {"key": "A B", "list_value": "ü*~"})
    script = """
        use Mojo::Base -strict; use OpenQA::UserAgent; use Mojo::JSON 'encode_json';
        local $/; my $ua = OpenQA::UserAgent->new(apikey => 'KEY', apisecret => 'SECRET');
        my $tx = $ua->build_tx(GET => <STDIN>); $ua->emit(start => $tx);
        print encode_json($tx->req->headers->to_hash);
    """
    theirs = perl(script, url.encode(), openqa=True)
    ours = signed_headers(path_and_query(url), "KEY", "SECRET", float(theirs["X-API-Microtime"]))
    assert ours.items() <= theirs.items()


def test_mojolicious_reads_our_multipart_body() -> None:
    found = []
    names = ["a b", "a\\b", "a;b", "a'b", "a%22b", *NAMES[-5:]]
    for name in names:
        head, tail = file_part("xxx", name)
        body = head + b"con\r\ntent" + tail
        request = (
            b"POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=xxx\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        script = """
            use Mojo::Message::Request; use Mojo::JSON 'encode_json'; binmode STDIN; local $/;
            my $file = Mojo::Message::Request->new->parse(<STDIN>)->upload('file');
            print encode_json([$file->filename, $file->asset->slurp]);
        """
        found.append(perl(script, request))
    assert found == [[name, "con\r\ntent"] for name in names]


def test_a_quote_in_a_file_name_is_written_as_openqas_client_does() -> None:
    script = """
        use Mojo::UserAgent::Transactor; use Mojo::JSON 'encode_json'; local $/;
        my $form = {file => {filename => <STDIN>, content => 'x'}};
        my $tx = Mojo::UserAgent::Transactor->new->tx(POST => 'http://h', form => $form);
        print encode_json([$tx->req->content->parts->[0]->headers->content_disposition]);
    """
    theirs = perl(script, b'a"b')[0]
    assert theirs.encode() in file_part("xxx", 'a"b')[0]

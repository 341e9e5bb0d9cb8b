import socket

import pytest

from pseudoworker.observe.addresses import AddressError, listening_socket, parse_loopback


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("127.0.0.1:9599", ("127.0.0.1", 9599)),
        ("localhost:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("127.9.9.9:1", ("127.9.9.9", 1)),
    ],
)
def test_loopback_addresses_are_taken(address: str, parsed: tuple[str, int]) -> None:
    assert parse_loopback(address) == parsed


@pytest.mark.parametrize(
    "address", ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "example.com:80", "localhost.evil:80"]
)
def test_an_address_that_others_reach_is_refused(address: str) -> None:
    with pytest.raises(AddressError, match="can be reached from other machines"):
        parse_loopback(address)


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1", ":80", "127.0.0.1:http", "127.0.0.1:", "127.0.0.1:99999"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AddressError, match=r"is no host:port|there is no port"):
        parse_loopback(address)


def test_an_address_that_is_taken_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            AddressError, match=rf"cannot listen on 127.0.0.1:{port} \(Address already in use\)"
        ):
            listening_socket("127.0.0.1", port)

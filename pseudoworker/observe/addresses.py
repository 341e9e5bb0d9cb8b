"""`host:port` at which something may listen that has no login of its own: on this machine only."""

from __future__ import annotations

import ipaddress
import socket

from pseudoworker.errors import PseudoworkerError


class AddressError(PseudoworkerError):
    """The address cannot be listened on, or must not be."""


def parse_loopback(address: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9599`, `[::1]:9599` or `localhost:9599`.

    Raises AddressError for anything else: the status page has no login, so it may be reached from this
    machine only. To see it from elsewhere, use an ssh tunnel or a reverse proxy that asks who is there.
    """
    host, separator, port_text = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not separator or not host or not port_text.isascii() or not port_text.isdigit():
        raise AddressError(f"{address!r} is no host:port; write for instance 127.0.0.1:9599")
    port = int(port_text)
    if port > 65535:
        raise AddressError(f"{address!r}: there is no port {port}")
    if not is_loopback(host):
        raise AddressError(
            f"{address!r} can be reached from other machines and the status page has no login; "
            f"use 127.0.0.1:{port} and a tunnel or a reverse proxy with a login before it"
        )
    return ("127.0.0.1" if host == "localhost" else host), port


def is_loopback(host: str) -> bool:
    """Whether this name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listening_socket(host: str, port: int) -> socket.socket:
    """A listening TCP socket, not inherited by child processes.

    Raises AddressError when the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise AddressError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another port"
        ) from None
    listener.setblocking(False)
    return listener

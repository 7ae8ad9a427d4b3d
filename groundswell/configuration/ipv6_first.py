"""IPv6 before IPv4, for every name that this process looks up.

A function in a private network without NAT reaches AWS over IPv6 alone. A name of AWS that answers over both has
addresses of both kinds, and most clients take them in the order that the system gives: an IPv4 address that comes
first is waited for until the connection times out. A name with addresses of one kind is not touched.
"""

from __future__ import annotations

import socket
from functools import wraps
from typing import Any

_look_up = socket.getaddrinfo


@wraps(_look_up)
def _ipv6_first(*arguments: Any, **named: Any) -> list[Any]:
    return sorted(_look_up(*arguments, **named), key=lambda found: found[0] != socket.AF_INET6)


def install() -> None:
    """From now on, for the whole process. A second time changes nothing."""
    socket.getaddrinfo = _ipv6_first


def uninstall() -> None:
    socket.getaddrinfo = _look_up

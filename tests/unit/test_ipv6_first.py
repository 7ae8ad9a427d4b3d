"""Names are answered with their IPv6 addresses first, for every client of the process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from groundswell import settings
from groundswell.configuration import ipv6_first
from groundswell.settings_model import MoverSettings

V4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
V6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 443, 0, 0))


@pytest.fixture
def both_kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system answers with IPv4 first, as it does where an address of this machine is a local one."""

    def look_up(*_: object, **__: object) -> list[object]:
        return [V4, V4, V6]

    monkeypatch.setattr(ipv6_first, "_look_up", look_up)
    yield
    monkeypatch.undo()
    ipv6_first.uninstall()


@pytest.mark.usefixtures("both_kinds")
def test_ipv6_comes_before_ipv4_and_nothing_is_lost() -> None:
    ipv6_first.install()
    ipv6_first.install()
    assert socket.getaddrinfo("lambda.us-east-1.api.aws", 443) == [V6, V4, V4]


@pytest.mark.usefixtures("both_kinds")
def test_clients_on_the_event_loop_see_the_same_order() -> None:
    async def look_up() -> list[object]:
        found = await asyncio.get_running_loop().getaddrinfo("lambda.us-east-1.api.aws", 443)
        return [each[0] for each in found]

    ipv6_first.install()
    assert asyncio.run(look_up())[0] == socket.AF_INET6


@pytest.mark.parametrize(("variable", "first"), [("true", socket.AF_INET6), ("false", socket.AF_INET)])
@pytest.mark.usefixtures("both_kinds")
def test_a_process_does_so_where_it_is_told_to_reach_aws_over_ipv6(
    monkeypatch: pytest.MonkeyPatch, variable: str, first: socket.AddressFamily
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", ipv6_first._look_up)  # pyright: ignore[reportPrivateUsage]
    settings.load(MoverSettings, {"AWS_USE_DUALSTACK_ENDPOINT": variable})
    assert socket.getaddrinfo("lambda.us-east-1.api.aws", 443)[0][0] == first

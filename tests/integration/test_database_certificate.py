"""A database is trusted when a trusted authority signs its certificate for the host name, and refused otherwise."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from groundswell.adapters.migrations import REQUIRED_VERSION, migrate
from groundswell.adapters.postgres_access import SOCKET_PORT
from groundswell.adapters.postgres_address import DatabaseAddress
from groundswell.adapters.postgres_pool import Pool, connection, open_pool
from groundswell.configuration.authorities import verified
from groundswell.errors import StoreUnavailable
from groundswell.settings import MigrateSettings, load
from rehearsal.authority import Authority
from rehearsal.network import HOST, DatabaseDoor
from rehearsal.stage import free_ports


class Behind:
    """The test's database behind TLS, and the two authorities of whom one signs."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.ours, self.foreign = Authority(folder / "ours", "Ours"), Authority(folder / "foreign", "Foreign")
        self._socket = Path(parse_qs(urlsplit(database_url).query)["host"][0]) / f".s.PGSQL.{SOCKET_PORT}"
        parts = urlsplit(database_url)
        (self.port,) = free_ports(1)
        self.user, self.name = parts.username or "postgres", parts.path.strip("/")

    def url(self, host: str = HOST) -> str:
        # The name is for the certificate; the address is this machine's.
        return f"postgresql://{self.user}@{host}:{self.port}/{self.name}?hostaddr={HOST}"

    @asynccontextmanager
    async def open(
        self, *, signed_by: Authority, names: tuple[str, ...] = (), addresses: tuple[str, ...] = ()
    ) -> AsyncIterator[None]:
        door = DatabaseDoor(self._socket, self.port)
        await door.open(signed_by.server(names, addresses))
        try:
            yield
        finally:
            await door.close()


@pytest.fixture
def behind(database_url: str, tmp_path: Path) -> Behind:
    return Behind(database_url, tmp_path)


@asynccontextmanager
async def a_pool(url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(url, size=1, wait_s=1, statement_timeout_s=5, application_name="groundswell test")
    try:
        yield pool
    finally:
        await pool.close()


async def version_over(url: str) -> str:
    async with a_pool(url) as pool, connection(pool) as borrowed:
        row = await (await borrowed.execute("SELECT version_num FROM alembic_version")).fetchone()
        assert row is not None
        return str(row[0])


def test_a_certificate_of_the_trusted_authority_is_accepted(behind: Behind) -> None:
    async def body() -> None:
        async with behind.open(signed_by=behind.ours, names=("db.internal",), addresses=(HOST,)):
            for host in ("db.internal", HOST):
                url = verified(behind.url(host), str(behind.ours.file))
                assert await version_over(url) == REQUIRED_VERSION
                assert await migrate(url) == (REQUIRED_VERSION, REQUIRED_VERSION)

    asyncio.run(body())


@pytest.mark.parametrize(
    ("signer", "host", "because"),
    [
        ("foreign", "db.internal", "is not signed by an authority that is trusted"),
        ("ours", "other.internal", "is for another host name"),
    ],
)
def test_any_other_is_refused_with_what_to_do(behind: Behind, signer: str, host: str, because: str) -> None:
    async def body() -> None:
        url = verified(behind.url(host), str(behind.ours.file))
        async with behind.open(signed_by=getattr(behind, signer), names=("db.internal",)):
            with pytest.raises(StoreUnavailable) as while_pooled:
                await version_over(url)
            with pytest.raises(StoreUnavailable) as while_migrating:
                await migrate(url)
        for error in (while_pooled.value, while_migrating.value):
            assert because in error.detail
            assert "set GROUNDSWELL_DATABASE_CA to the authority" in error.detail

    asyncio.run(body())


def test_encryption_alone_accepts_whoever_answers(behind: Behind) -> None:
    """What `sslmode=require` leaves open, and why a secret of RDS asks for more."""

    async def body() -> None:
        async with behind.open(signed_by=behind.foreign, names=("db.internal",)):
            assert await version_over(f"{behind.url('other.internal')}&sslmode=require") == REQUIRED_VERSION

    asyncio.run(body())


def test_a_server_without_tls_is_refused(database_url: str, tmp_path: Path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"N")
        await writer.drain()
        writer.close()

    async def body() -> None:
        server = await asyncio.start_server(plain, HOST, 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            authority = str(Authority(tmp_path, "Ours").file)
            with pytest.raises(StoreUnavailable, match="the server speaks no TLS"):
                await migrate(verified(f"postgresql://u@{HOST}:{port}/d", authority))

    asyncio.run(body())


def test_the_refusal_is_over_with_the_first_certificate_that_is_good(behind: Behind) -> None:
    async def body() -> None:
        address = DatabaseAddress(verified(behind.url("db.internal"), str(behind.ours.file)))
        async with behind.open(signed_by=behind.foreign, names=("db.internal",)):
            with pytest.raises(psycopg.OperationalError):
                await address.connect(psycopg.AsyncConnection.connect)
        assert "is not signed" in address.refusal
        async with behind.open(signed_by=behind.ours, names=("db.internal",)):
            await (await address.connect(psycopg.AsyncConnection.connect)).close()
        assert address.refusal == ""

    asyncio.run(body())


def test_a_secret_of_rds_is_verified_by_the_authorities_of_its_region() -> None:
    secret = {"host": "db.abc.eu-west-1.rds.amazonaws.com", "username": "u", "password": "p", "dbname": "d"}
    chosen = load(MigrateSettings, {"GROUNDSWELL_DATABASE_URL": json.dumps(secret)})
    assert chosen.database_url is not None
    query = parse_qs(urlsplit(chosen.database_url.reveal()).query)
    assert query["sslmode"] == ["verify-full"]
    named = set(re.findall(r"CN=Amazon RDS ([a-z0-9-]+) Root", _subjects(query["sslrootcert"][0])))
    assert named == {"eu-west-1"}


def test_what_rds_signs_is_refused_from_anybody_else(behind: Behind) -> None:
    """The name is RDS's and resolves to this machine: whoever answers has no certificate of RDS."""

    async def body() -> None:
        host = "db.abc.us-east-1.rds.amazonaws.com"
        async with behind.open(signed_by=behind.ours, names=(host,)):
            with pytest.raises(StoreUnavailable, match="is not signed by an authority"):
                await version_over(verified(f"{behind.url(host)}&sslmode=verify-full", ""))

    asyncio.run(body())


def _subjects(path: str) -> str:
    import ssl

    context = ssl.create_default_context(cafile=path)
    subjects = (dict(field[0] for field in each["subject"]) for each in context.get_ca_certs())  # type: ignore[index]
    return " ".join(f"CN={subject['commonName']}" for subject in subjects)


def test_a_url_that_asks_for_no_verification_stays_as_it_is(database_url: str) -> None:
    assert verified(database_url, "") == database_url
    with psycopg.connect(verified(database_url, "system")) as conn:  # a socket file has no certificate
        assert conn.execute("SELECT 1").fetchone() == (1,)

"""The network of the local AWS: a certificate for its names, a database behind TLS, and where each name leads."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
INSIDE = Path(__file__).parent / "inside"
SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""What a Postgres client says first where it wants TLS."""


class Certificates:
    """One certificate for all the names, which is its own authority. `path` has certificate and key."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Groundswell rehearsal")])
        now = datetime.datetime.now(datetime.UTC)
        known = [*(x509.DNSName(each) for each in names), x509.IPAddress(ipaddress.ip_address(HOST))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(known), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(exist_ok=True)
        self.authority = folder / "authority.pem"
        self.authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._key = folder / "key.pem"
        self._key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def for_server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority, self._key)
        return context

    def for_client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


def environment_inside(authority: Path, hosts: Mapping[str, int]) -> dict[str, str]:
    """What a process needs so that the names lead here and their certificate is believed."""
    return {
        "REHEARSAL_HOSTS": ",".join(f"{name}={port}" for name, port in hosts.items()),
        "SSL_CERT_FILE": str(authority),
    }


class DatabaseDoor:
    """Takes connections with TLS alone, as RDS does, and hands them to a Postgres behind a socket file."""

    def __init__(self, socket_file: Path, port: int) -> None:
        self._socket_file = socket_file
        self._port = port
        self._tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def open(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._server = await asyncio.start_server(self._pass, HOST, self._port)

    async def close(self) -> None:
        """Cut every connection, and take no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None and self._tls is not None
        self._open.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            if await reader.readexactly(8) != SSL_REQUEST:
                return  # rds.force_ssl
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self._tls)
            far_reader, far = await asyncio.open_unix_connection(str(self._socket_file))
            ways = [asyncio.create_task(_copy(reader, far)), asyncio.create_task(_copy(far_reader, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client went away, the database does not run, or the door was closed: asyncio's server of this Python
            # takes a cancelled handler for an error.
            return
        finally:
            self._open.discard(task)
            for end in (writer, far):
                if end is not None:
                    with contextlib.suppress(OSError):
                        end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

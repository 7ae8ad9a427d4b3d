"""A certificate authority of this machine, which signs what the rehearsed database presents, as RDS's own does."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

VALID_DAYS = 2


class Authority:
    """`file` has the authority's certificate, `server` makes what a server needs."""

    def __init__(self, folder: Path, name: str) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "authority.pem"
        self.file.write_bytes(_signed(name, self._key.public_key(), name, self._key, authority=True))

    def server(self, names: Sequence[str], addresses: Sequence[str] = ()) -> ssl.SSLContext:
        """TLS of a server that answers to these host names and addresses."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        subject = [*names, *addresses][0]
        certificate = _signed(subject, key.public_key(), self._name, self._key, names=names, addresses=addresses)
        chain = self._folder / f"{subject}.pem"
        chain.write_bytes(secret + certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def _signed(
    subject: str,
    public_key: object,
    issuer: str,
    key: object,
    *,
    authority: bool = False,
    names: Sequence[str] = (),
    addresses: Sequence[str] = (),
) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    signing = cast("ec.EllipticCurvePrivateKey", key)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(public_key)  # pyright: ignore[reportArgumentType]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        # From Python 3.13 on clients want what RFC 5280 wants: this, and of an authority its own two.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    if authority:
        own = x509.SubjectKeyIdentifier.from_public_key(signing.public_key())
        signs = x509.KeyUsage(
            key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False, key_agreement=False,
            key_encipherment=False, data_encipherment=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = builder.add_extension(own, critical=False).add_extension(signs, critical=True)
    known = [
        *(x509.DNSName(each) for each in names),
        *(x509.IPAddress(ipaddress.ip_address(each)) for each in addresses),
    ]
    if known:
        builder = builder.add_extension(x509.SubjectAlternativeName(known), critical=False)
    return builder.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

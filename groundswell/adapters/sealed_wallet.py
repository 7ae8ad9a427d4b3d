"""A wallet's signature over a sealed feed's challenge, made and checked: Ed25519, and secp256k1 as EIP-191 has it."""

from __future__ import annotations

from typing import Protocol

from Crypto.Hash import keccak
from Crypto.PublicKey.ECC import EccPoint  # pyright: ignore[reportPrivateImportUsage] -- documented there
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from groundswell.core.sealed_keys import SECP256K1_ORDER, WalletKind, base58, parse_key

_CURVE = "secp256k1"
_FIELD = 2**256 - 2**32 - 977
"""SEC 2, section 2.4.1: coordinates are numbers modulo this."""
_GENERATOR = EccPoint(
    0x79BE667E_F9DCBBAC_55A06295_CE870B07_029BFCDB_2DCE28D9_59F2815B_16F81798,
    0x483ADA77_26A3C465_5DA4FBFC_0E1108A8_FD17B448_A6855419_9C47D08F_FB10D4B8,
    curve=_CURVE,
)


class Wallet(Protocol):
    """What proves to a feed who is asking. Its private key never leaves it."""

    kind: WalletKind
    address: str
    """Public: what the feed knows the wallet by."""

    def sign(self, message: bytes) -> bytes: ...


def wallet_of(kind: WalletKind, key: bytes) -> Wallet:
    """The wallet of a private key, as `core.sealed_keys.parse_wallet_key` gives it.

    Raises:
        ValueError: the public key that came with an Ed25519 one is another's; a sentence that shows nothing of it.
    """
    return Ed25519Wallet(key) if kind == "ed25519" else Secp256k1Wallet(key)


class Ed25519Wallet:
    """RFC 8032. The address is the public key in base58, the signature 64 bytes over the message itself."""

    kind: WalletKind = "ed25519"

    def __init__(self, key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(key[:32])
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        if key[32:] not in (b"", public):
            raise ValueError(
                "has 64 bytes whose second half is not the public key of the first. Copy it again from the wallet."
            )
        self.address = base58(public)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class Secp256k1Wallet:
    """EIP-191, version 0x45 (`personal_sign`). The address is Ethereum's, the signature 65 bytes: r, s and v."""

    kind: WalletKind = "secp256k1"

    def __init__(self, key: bytes) -> None:
        self._key = ec.derive_private_key(int.from_bytes(key), ec.SECP256K1())
        public = self._key.public_key().public_numbers()
        self._public = (public.x, public.y)
        self.address = _address(public.x, public.y)

    def sign(self, message: bytes) -> bytes:
        digest = eip191_digest(message)
        r, s = decode_dss_signature(self._key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        s = min(s, SECP256K1_ORDER - s)  # EIP-2: of the two that are valid, verifiers take the smaller one
        parity = next(parity for parity in (0, 1) if _recover(digest, r, s, parity) == self._public)
        return r.to_bytes(32) + s.to_bytes(32) + bytes((27 + parity,))


def is_signed(kind: WalletKind, address: str, message: bytes, signature: bytes) -> bool:
    """Whether the wallet at `address` signed `message`. Total: what is no signature is not one."""
    if kind == "secp256k1":
        return _recovered_address(message, signature) == address.lower()
    public = _public_key(address)
    if public is None:
        return False
    try:
        public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def eip191_digest(message: bytes) -> bytes:
    """What `personal_sign` signs of a message: 32 bytes."""
    return _keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)


def _public_key(address: str) -> Ed25519PublicKey | None:
    try:
        return Ed25519PublicKey.from_public_bytes(parse_key(f"base58:{address}", (32,)))
    except ValueError:
        return None


def _recovered_address(message: bytes, signature: bytes) -> str | None:
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
    if not (0 < r < SECP256K1_ORDER and 0 < s <= SECP256K1_ORDER // 2):
        return None
    point = _recover(eip191_digest(message), r, s, signature[64] - 27)
    return None if point is None else _address(*point)


def _recover(digest: bytes, r: int, s: int, parity: int) -> tuple[int, int] | None:
    """The public key that made a signature (SEC 1, section 4.1.6). Everything in it is public."""
    square = (pow(r, 3, _FIELD) + 7) % _FIELD
    y = pow(square, (_FIELD + 1) // 4, _FIELD)
    if y * y % _FIELD != square:
        return None
    nonce_point = EccPoint(r, y if y % 2 == parity else _FIELD - y, curve=_CURVE)
    inverse = pow(r, -1, SECP256K1_ORDER)
    negated = -int.from_bytes(digest) % SECP256K1_ORDER
    public = nonce_point * (s * inverse % SECP256K1_ORDER) + _GENERATOR * (negated * inverse % SECP256K1_ORDER)
    return None if public.is_point_at_infinity() else (int(public.x), int(public.y))


def _address(x: int, y: int) -> str:
    return "0x" + _keccak(x.to_bytes(32) + y.to_bytes(32))[-20:].hex()


def _keccak(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it: before NIST changed the padding for SHA-3."""
    return keccak.new(digest_bits=256, data=data).digest()

"""Signatures of wallets, against published ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.adapters.sealed_wallet import Wallet, eip191_digest, is_signed, wallet_of
from groundswell.core.sealed_keys import WalletKind

KINDS: tuple[WalletKind, ...] = ("ed25519", "secp256k1")
MESSAGE = b"Some data"


def wallet(kind: WalletKind, seed: int = 1) -> Wallet:
    return wallet_of(kind, bytes(range(seed, seed + 32)))


def test_rfc_8032_test_1() -> None:
    signer = wallet_of("ed25519", bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert signer.address == "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z"
    assert signer.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )


def test_the_example_of_web3js_for_eip_191() -> None:
    """web3.js, `eth.accounts.sign("Some data", …)`: the same digest and address, and its signature is accepted."""
    signer = wallet_of("secp256k1", bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"))
    assert signer.address == "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23"
    assert eip191_digest(MESSAGE).hex() == "1da44b586eb0729ff70a73c326926f6ed5a25f5b056e7f47fbc6e58d86871655"
    published = bytes.fromhex(
        "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
        "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
    )
    assert is_signed("secp256k1", signer.address, MESSAGE, published)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wallet_signs_what_its_address_verifies_and_nothing_else(kind: WalletKind) -> None:
    signer, other = wallet(kind), wallet(kind, 2)
    for n in range(8):
        message = MESSAGE + bytes([n])
        signature = signer.sign(message)
        assert is_signed(kind, signer.address, message, signature)
        assert not is_signed(kind, other.address, message, signature)
        assert not is_signed(kind, signer.address, MESSAGE, signature)


def test_the_larger_of_two_valid_secp256k1_signatures_is_refused() -> None:
    signer = wallet("secp256k1")
    signature = signer.sign(MESSAGE)
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    s = int.from_bytes(signature[32:64])
    twin = signature[:32] + (order - s).to_bytes(32) + bytes([27 + 28 - signature[64]])
    assert not is_signed("secp256k1", signer.address, MESSAGE, twin)


@given(st.sampled_from(KINDS), st.text(max_size=60), st.binary(max_size=70))
def test_checking_is_total(kind: WalletKind, address: str, signature: bytes) -> None:
    assert not is_signed(kind, address, MESSAGE, signature)


@given(st.binary(min_size=64, max_size=64), st.sampled_from([27, 28]))
def test_no_65_bytes_by_chance_are_a_signature(rs: bytes, v: int) -> None:
    assert not is_signed("secp256k1", wallet("secp256k1").address, MESSAGE, rs + bytes([v]))


def test_an_ed25519_key_whose_public_half_is_anothers_is_refused_without_showing_it() -> None:
    key, other = bytes(range(32)), bytes(range(32, 64))
    with pytest.raises(ValueError, match="second half is not the public key") as caught:
        wallet_of("ed25519", key + other)
    assert key.hex() not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wallet_does_not_show_its_key(kind: WalletKind) -> None:
    key = bytes(range(1, 33))
    assert not any(form in repr(vars(wallet_of(kind, key))) for form in (key.hex(), str(int.from_bytes(key))))

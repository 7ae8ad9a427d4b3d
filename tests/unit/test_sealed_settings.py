"""What a service makes of the variables of a sealed feed."""

from __future__ import annotations

import base64

import pytest

from groundswell.configuration.secret import Secret
from groundswell.core.sealed_keys import base58
from groundswell.errors import ConfigError
from groundswell.settings import ApiSettings, EmbeddedSettings, RelaySettings, Settings, load

KEY = bytes(range(7, 39))
OTHER = bytes(range(9, 41))
FEED = {
    "GROUNDSWELL_SOURCE": "sealed",
    "GROUNDSWELL_SEALED_URL": "https://feed.example.org/v1/",
    "GROUNDSWELL_SEALED_WALLET_KEY": base58(KEY),
    "GROUNDSWELL_SEALED_FEED_KEY": base64.b64encode(OTHER).decode(),
}
DATABASE = {"GROUNDSWELL_DATABASE_URL": "postgresql://groundswell:k7Jq2Vx9@db.internal:5432/groundswell"}


def problems_of(kind: type[Settings], environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(kind, environ)
    return caught.value.problems


@pytest.mark.parametrize("kind", [EmbeddedSettings, RelaySettings])
def test_a_feed_with_its_keys_is_accepted_and_its_keys_are_secrets(kind: type[Settings]) -> None:
    settings = load(kind, {**FEED, **DATABASE})
    assert settings.sealed_url == "https://feed.example.org/v1"  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("GROUNDSWELL_SEALED_WALLET_KEY", "GROUNDSWELL_SEALED_FEED_KEY"):
        kept = getattr(settings, name.removeprefix("GROUNDSWELL_").lower())
        assert isinstance(kept, Secret) and kept.reveal() == FEED[name]
        assert FEED[name] not in repr(settings)


def test_without_anything_the_simulator_serves_one_in_development_and_only_there() -> None:
    assert load(EmbeddedSettings, {"GROUNDSWELL_SOURCE": "sealed"}).sealed_url is None
    missing = problems_of(EmbeddedSettings, {"GROUNDSWELL_SOURCE": "sealed", "GROUNDSWELL_ENVIRONMENT": "staging"})
    assert [problem.partition(":")[0] for problem in missing] == [
        "GROUNDSWELL_SEALED_URL",
        "GROUNDSWELL_SEALED_WALLET_KEY",
        "GROUNDSWELL_SEALED_FEED_KEY",
    ]


@pytest.mark.parametrize("missing", [name for name in FEED if name != "GROUNDSWELL_SOURCE"])
def test_a_part_of_a_feed_is_not_enough(missing: str) -> None:
    (problem,) = problems_of(EmbeddedSettings, {**FEED, missing: ""})
    assert problem.startswith(f"{missing}: is not set, but GROUNDSWELL_SOURCE is sealed. Set it")


def test_all_problems_are_told_at_once() -> None:
    problems = problems_of(
        RelaySettings,
        {
            "GROUNDSWELL_SOURCE": "sealed",
            "GROUNDSWELL_SEALED_URL": "wss://feed.example.org",
            "GROUNDSWELL_SEALED_WALLET_KIND": "rsa",
            "GROUNDSWELL_SEALED_WALLET_KEY": KEY.hex()[:-1],
            "GROUNDSWELL_SEALED_FEED_KEY": "nothing of the kind",
        },
    )
    assert {problem.partition(":")[0] for problem in problems} == {
        "GROUNDSWELL_DATABASE_URL",
        "GROUNDSWELL_SEALED_URL",
        "GROUNDSWELL_SEALED_WALLET_KIND",
        "GROUNDSWELL_SEALED_WALLET_KEY",
        "GROUNDSWELL_SEALED_FEED_KEY",
    }


def test_the_wallets_kind_decides_what_its_key_may_be() -> None:
    exported = {**FEED, "GROUNDSWELL_SEALED_WALLET_KEY": base58(KEY + OTHER)}
    assert isinstance(load(EmbeddedSettings, exported).sealed_wallet_key, Secret)
    (problem,) = problems_of(EmbeddedSettings, {**exported, "GROUNDSWELL_SEALED_WALLET_KIND": "secp256k1"})
    assert "32 are needed" in problem


def test_a_feed_in_the_open_internet_is_encrypted_outside_development() -> None:
    plain = {**FEED, **DATABASE, "GROUNDSWELL_ENVIRONMENT": "production"}
    plain["GROUNDSWELL_SEALED_URL"] = "http://feed.example.org"
    (problem,) = problems_of(RelaySettings, plain)
    assert problem.startswith("GROUNDSWELL_SEALED_URL:")
    assert "could be read on the way" in problem


def test_who_does_not_watch_it_does_not_care() -> None:
    broken = {**FEED, **DATABASE, "GROUNDSWELL_SEALED_FEED_KEY": "nothing of the kind"}
    load(ApiSettings, broken)
    load(RelaySettings, {**broken, "GROUNDSWELL_SOURCE": "jetstream"})

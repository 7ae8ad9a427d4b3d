"""The sealed source, from its settings or, without any, on the simulator's own sealed feed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import TypeAlias

from groundswell.adapters.sealed import SealedSource
from groundswell.adapters.sealed_wallet import Wallet, wallet_of
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.entities import EntityExtractor
from groundswell.core.sealed_keys import WalletKind, parse_feed_key, parse_wallet_key
from groundswell.core.status import SEALED_SIMULATOR
from groundswell.errors import ConfigError
from groundswell.settings_model import EmbeddedSettings, RelaySettings

NAME = "sealed"

MakeExtractor: TypeAlias = Callable[[RelaySettings | EmbeddedSettings, Sequence[str]], EntityExtractor]


async def open_sealed_source(
    stack: AsyncExitStack,
    settings: RelaySettings | EmbeddedSettings,
    *,
    extractor: MakeExtractor,
    tell: Callable[[str], None],
) -> SealedSource:
    """The configured feed. Without an address: a simulated one, with keys made for this run.

    Raises:
        ConfigError: the wallet's key is none.
    """
    if settings.sealed_url is not None:
        return configured_source(settings, extractor(settings, ()))
    from groundswell.adapters.simulator import WATCH_NAMES, World, WorldConfig
    from groundswell.adapters.simulator.sealed import SealedServer

    tell("Starting the simulated sealed feed")
    feed_key = secrets.token_bytes(32)
    wallet = wallet_of(_kind(settings), secrets.token_bytes(32))
    world = World(WorldConfig(seed=settings.simulator_seed, posts_per_second=settings.simulator_rate))
    server = SealedServer(
        world,
        clock=SystemClock(),
        feed_key=feed_key,
        wallets=[wallet.address],
        history_s=settings.simulator_history_minutes * 60,
    )
    await stack.enter_async_context(server)
    return _source(SEALED_SIMULATOR, server.url, wallet, feed_key, extractor(settings, WATCH_NAMES))


def configured_source(settings: RelaySettings | EmbeddedSettings, extractor: EntityExtractor | None) -> SealedSource:
    """The feed that the settings name.

    Raises:
        ConfigError: the wallet's key is none.
    """
    assert settings.sealed_url and settings.sealed_wallet_key and settings.sealed_feed_key, "settings ask for all three"
    kind = _kind(settings)
    try:
        wallet = wallet_of(kind, parse_wallet_key(settings.sealed_wallet_key.reveal(), kind))
    except ValueError as error:
        raise ConfigError([f"GROUNDSWELL_SEALED_WALLET_KEY: {error}"]) from None
    return _source(NAME, settings.sealed_url, wallet, parse_feed_key(settings.sealed_feed_key.reveal()), extractor)


def _source(name: str, url: str, wallet: Wallet, feed_key: bytes, extractor: EntityExtractor | None) -> SealedSource:
    return SealedSource(
        name=name,
        url=url,
        wallet=wallet,
        feed_key=feed_key,
        extractor=extractor,
        rng=Random(),  # noqa: S311 -- spreads retries, guards nothing
    )


def _kind(settings: RelaySettings | EmbeddedSettings) -> WalletKind:
    return "secp256k1" if settings.sealed_wallet_kind == "secp256k1" else "ed25519"

"""What the relay is doing, as its reader and its writer note it."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

import msgspec

from groundswell.core.posts import Micros

RelayPhase: TypeAlias = Literal[
    "starting", "connecting", "catching-up", "live", "disconnected", "failed", "ended", "stopped"
]


class RelayState(msgspec.Struct):
    """For `/v1/status` and metrics. Counters start at zero with the process."""

    phase: RelayPhase = "starting"
    why: str | None = None
    """A sentence, while not all is well."""
    endpoint: str | None = None
    host: str | None = None
    """Of a source of several hosts: the one that is read."""
    protocol: str | None = None
    version: str | None = None
    storing: bool = True
    """False while what was read waits for the store."""
    spool_full: str | None = None
    """Why the spool takes nothing more, while it does not: the source is left unread."""
    last_frame_at: Micros | None = None
    """When the last frame was received, by the store's clock: a quiet source sends none and is well."""
    frames_total: int = 0
    created_total: int = 0
    updated_total: int = 0
    deleted_total: int = 0
    duplicates_total: int = 0
    reconnects_total: int = 0
    batches_total: int = 0
    spooled_total: int = 0
    """Batches that went through the spool."""
    decode_seconds: float = 0.0
    commit_seconds: float = 0.0
    ignored_total: Counter[str] = msgspec.field(default_factory=Counter[str])

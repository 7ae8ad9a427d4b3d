"""The values that travel from a source to the stores.

All instants are `Micros`: whole microseconds since the Unix epoch, UTC. They become RFC 3339 texts only
where a person or another program reads them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Micros: TypeAlias = int
"""An instant: whole microseconds since 1970-01-01T00:00:00Z."""

MICROS_PER_SECOND = 1_000_000
MICROS_PER_MINUTE = 60 * MICROS_PER_SECOND

EntityKind: TypeAlias = Literal["ticker", "hashtag", "mention", "domain", "name"]
ENTITY_KINDS: tuple[EntityKind, ...] = ("ticker", "hashtag", "mention", "domain", "name")


class Post(msgspec.Struct, frozen=True, gc=False):
    """One post as the platform knows it, whatever network it came from.

    `entities` holds entity keys (see `groundswell.core.entities`), sorted and without repeats.
    A `Post` whose `id` is stored already and whose `rev` is greater is an edit of the stored one.
    """

    id: str
    """Canonical URI, unique across sources."""
    source: str
    author: str
    text: str
    event_time: Micros
    """The source's own clock; what momentum buckets by."""
    rev: str
    """Revision: greater in lexicographic order means later, within one `id`."""
    cursor: int
    """Where the source can be resumed so that this frame is seen again (inclusive)."""
    created_at: Micros | None = None
    """What the author claims. Untrusted: shown, never computed with."""
    lang: str | None = None
    entities: tuple[str, ...] = ()
    reply_to: str | None = None
    quote_of: str | None = None
    operation: Literal["create", "update"] = "create"
    labels: tuple[str, ...] = ()
    """What the author says of the post: see `core.self_labels`."""
    restricted: bool = False
    """Whether readers need an API key to see it. Known once the post is stored: its author's profile may ask so."""


class Deleted(msgspec.Struct, frozen=True, gc=False):
    """A post withdrawn by its author.

    Without an `id` it is a whole account, as an earlier release spooled it: see `AccountChange`.
    """

    source: str
    author: str
    event_time: Micros
    cursor: int
    id: str | None = None
    rev: str = ""
    cause: str = "deleted"


class AccountChange(msgspec.Struct, frozen=True, gc=False):
    """A new state of a whole account. `core.accounts` says what it means for the posts."""

    source: str
    author: str
    event_time: Micros
    cursor: int
    status: str
    """`active`, or why it is not: `deleted`, `takendown`, `suspended`, `deactivated`, `unknown`."""

    @property
    def hides(self) -> bool:
        """Whether the account's posts are not to be shown."""
        return self.status != "active"

    @property
    def is_final(self) -> bool:
        """Whether what the account posted up to now is deleted."""
        return self.status == "deleted"


class ProfileLabels(msgspec.Struct, frozen=True, gc=False):
    """What an author says of the whole profile, as of one revision of it. Empty where nothing is said."""

    source: str
    author: str
    event_time: Micros
    cursor: int
    rev: str
    labels: tuple[str, ...] = ()


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """A frame that carries no post. Each reason is counted in `frames_ignored_total{reason}`."""

    reason: str
    """A short fixed word: never text from upstream, since it becomes a metric label."""
    cursor: int | None = None
    """Set when the frame could be read well enough to move the cursor past it."""
    event_time: Micros | None = None


Decoded: TypeAlias = Post | Deleted | AccountChange | ProfileLabels | Ignored

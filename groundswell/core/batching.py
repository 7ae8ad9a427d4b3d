"""Gathers decoded frames until they are worth a transaction, and folds what they say about the same post."""

from __future__ import annotations

from collections import Counter

import msgspec

from groundswell.core.posts import AccountChange, Decoded, Deleted, Ignored, Micros, Post, ProfileLabels


class Taken(msgspec.Struct, frozen=True):
    """What a `Batcher` had gathered. `posts` and `deletes` name no id twice, nor between them."""

    posts: tuple[Post, ...]
    deletes: tuple[Deleted, ...]
    accounts: tuple[AccountChange, ...]
    """Of each account the latest state, and before it the latest deletion if that is another."""
    profiles: tuple[ProfileLabels, ...]
    """Of each author the latest."""
    cursor: int | None
    """The greatest cursor of all frames in it, ignored ones too."""
    first_event_time: Micros | None
    """The earliest event time of all frames in it."""
    last_event_time: Micros | None
    frames: int
    """How many frames went in, before folding."""
    ignored: dict[str, int]
    """Frames without a post, by reason."""


class Batcher:
    """A batch is due when it holds `max_items` operations, or when its oldest frame is `max_age_s` old.

    The result is what storing the frames one by one in order would leave behind:
    - of several operations on one id the one with the last `rev` stays; a delete is not outrun by its own creation;
    - an edit brings its content, and leaves the event time of the operation that it edits, as the store does;
    - of several states of one account the latest by event time stays, and the latest deletion.
    It relies on what holds on the networks we read: the id of a withdrawn post is never used again.
    Memory is bounded by `max_items`: a caller that keeps adding past `due` is the only way beyond it.
    """

    def __init__(self, max_items: int, max_age_s: float) -> None:
        if max_items < 1 or max_age_s < 0:
            raise ValueError(f"a batch needs max_items >= 1 and max_age_s >= 0, not {max_items} and {max_age_s}")
        self._max_items = max_items
        self._max_age_s = max_age_s
        self._reset()

    def _reset(self) -> None:
        self._by_id: dict[str, Post | Deleted] = {}
        self._accounts: dict[str, AccountChange] = {}
        self._deleted_accounts: dict[str, AccountChange] = {}
        self._profiles: dict[str, ProfileLabels] = {}
        self._ignored: Counter[str] = Counter()
        self._frames = 0
        self._since: float | None = None
        self._cursor: int | None = None
        self._first: Micros | None = None
        self._last: Micros | None = None

    def __len__(self) -> int:
        """Operations to store, after folding."""
        return len(self._by_id) + len(self._accounts) + len(self._profiles)

    @property
    def frames(self) -> int:
        return self._frames

    def add(self, decoded: Decoded, now_monotonic: float) -> bool:
        """Take a frame in. Answers whether the batch is full."""
        self._frames += 1
        if self._since is None:
            self._since = now_monotonic
        cursor = decoded.cursor
        if cursor is not None and (self._cursor is None or cursor > self._cursor):
            self._cursor = cursor
        at = decoded.event_time
        if at is not None:
            if self._first is None or at < self._first:
                self._first = at
            if self._last is None or at > self._last:
                self._last = at

        if isinstance(decoded, Post):
            self._fold(decoded.id, decoded)
        elif isinstance(decoded, Ignored):
            self._ignored[decoded.reason] += 1
        elif isinstance(decoded, AccountChange):
            self._change_account(decoded)
        elif isinstance(decoded, ProfileLabels):
            known = self._profiles.get(decoded.author)
            if known is None or decoded.rev >= known.rev:
                self._profiles[decoded.author] = decoded
        elif decoded.id is not None:
            self._fold(decoded.id, decoded)
        return len(self) >= self._max_items

    def due(self, now_monotonic: float) -> bool:
        """Whether to take the batch now: it is full, or old enough. Never for an empty one."""
        if self._since is None:
            return False
        return len(self) >= self._max_items or now_monotonic - self._since >= self._max_age_s

    def take(self) -> Taken:
        """All that was gathered, in order of first arrival; the batcher is empty afterwards."""
        operations = self._by_id.values()
        taken = Taken(
            posts=tuple(op for op in operations if isinstance(op, Post)),
            deletes=tuple(op for op in operations if isinstance(op, Deleted)),
            accounts=(
                *(gone for gone in self._deleted_accounts.values() if gone is not self._accounts[gone.author]),
                *self._accounts.values(),
            ),
            profiles=tuple(self._profiles.values()),
            cursor=self._cursor,
            first_event_time=self._first,
            last_event_time=self._last,
            frames=self._frames,
            ignored=dict(self._ignored),
        )
        self._reset()
        return taken

    def _fold(self, post_id: str, op: Post | Deleted) -> None:
        known = self._by_id.get(post_id)
        if known is None:
            self._by_id[post_id] = op
        elif _supersedes(op, known):
            self._by_id[post_id] = _merge(known, op)

    def _change_account(self, change: AccountChange) -> None:
        known = self._accounts.get(change.author)
        if known is None or _is_later(change, known):
            self._accounts[change.author] = change
        gone = self._deleted_accounts.get(change.author)
        if change.is_final and (gone is None or change.event_time >= gone.event_time):
            self._deleted_accounts[change.author] = change


def _is_later(change: AccountChange, known: AccountChange) -> bool:
    """Of two states of one instant the one that hides stands, as in the store."""
    return (change.event_time, change.hides) >= (known.event_time, known.hides)


def _supersedes(op: Post | Deleted, known: Post | Deleted) -> bool:
    if op.rev and known.rev and op.rev != known.rev:
        return op.rev > known.rev
    # One revision seen twice: a delete stands, and so does what came first. A commit writes a post at most once.
    return isinstance(op, Deleted) and isinstance(known, Post)


def _merge(known: Post | Deleted, op: Post | Deleted) -> Post | Deleted:
    if isinstance(known, Post) and isinstance(op, Post):
        return msgspec.structs.replace(op, operation=known.operation, event_time=known.event_time)
    return op

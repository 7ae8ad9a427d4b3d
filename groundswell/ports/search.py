"""The legs of a search and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from groundswell.core.posts import Micros, Post
from groundswell.core.queries import ParsedQuery
from groundswell.ports.storing import StoredPost
from groundswell.ports.vectors import EVERYTHING, Hit, SearchFilters, Traits, Within

NO_QUERY = ParsedQuery()


class LexicalSearch(Protocol):
    """Search in Postgres, and what it knows of posts that were found elsewhere. Raises `StoreUnavailable`."""

    async def lexical(
        self, query: ParsedQuery, filters: SearchFilters, limit: int, within: Within = EVERYTHING
    ) -> list[Hit]:
        """Full-text matches, best first. Without terms: the newest posts."""
        ...

    async def related(self, post: Post, filters: SearchFilters, limit: int, within: Within = EVERYTHING) -> list[Hit]:
        """Posts that share entities with `post`, those that share most first, then newest first."""
        ...

    async def horizon(self) -> tuple[int, Micros]:
        """The greatest key of all posts, 0 before the first, and the time by the database's clock."""
        ...

    async def traits(
        self, pks: Sequence[int], query: ParsedQuery = NO_QUERY, *, signed_in: bool = False
    ) -> dict[int, Traits]:
        """Of those that still exist, that this reader may see, and that hold nothing that `query` excludes."""
        ...

    async def copies(
        self, prints: Sequence[int], filters: SearchFilters, within: Within = EVERYTHING
    ) -> dict[int, int]:
        """How many posts that pass the filters have each fingerprint, counted up to a bound of the adapter."""
        ...

    async def posts_by_pk(self, pks: Sequence[int], *, signed_in: bool = False) -> dict[int, Post]: ...

    async def post_by_id(self, post_id: str, *, signed_in: bool = False) -> StoredPost | None: ...


class SearchHit(msgspec.Struct, frozen=True):
    """One answer of the fused search, best first within its list: the best ranked of all that say the same."""

    pk: int
    post: Post
    score: float
    """The sum of `parts`."""
    ranks: dict[str, int]
    """Leg name to the 1-based rank that leg gave the post: why it is here."""
    parts: dict[str, float] = {}
    """What each leg, and `recency`, added to the score."""
    highlights: tuple[tuple[int, int], ...] = ()
    """Where the text says what was asked for: start and end (exclusive), in Unicode code points."""
    similar: int = 0
    """Further posts that say the same, in these words or nearly."""
    archived: bool = False
    """Whether it is in the archive, where only its id finds it."""


class SearchPlace(msgspec.Struct, frozen=True):
    """Where a page of a search ended, and the moment at which its first page was made."""

    up_to_pk: int
    as_of: Micros
    position: int
    """How many answers have been given, or left out since they are gone."""


class SearchAnswer(msgspec.Struct, frozen=True):
    hits: list[SearchHit]
    legs: list[str]
    """The legs that ran, of `lexical` and `semantic`."""
    degraded: list[str]
    """What was missing while this was answered, as short words such as `embeddings`."""
    next: SearchPlace | None = None
    """Where the next page begins; None at the end."""


class Searcher(Protocol):
    async def search(
        self,
        query: str,
        filters: SearchFilters,
        limit: int,
        *,
        like: str | None = None,
        after: SearchPlace | None = None,
    ) -> SearchAnswer:
        """At most `limit` fused hits, from the beginning or `after` an earlier page.

        Args:
            like: the id of a post; the answer is what is about the same, and `query` is not looked at.

        Raises:
            StoreUnavailable: Postgres, which holds the posts themselves, cannot be reached.
            NotFound: there is no post `like`.
        """
        ...

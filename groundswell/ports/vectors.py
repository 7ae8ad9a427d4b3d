"""Models, spaces, vectors, and the index that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from groundswell.core.embedding_chain import Device, Hardware, ModelEntry
from groundswell.core.posts import Micros

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Space(msgspec.Struct, frozen=True):
    """Where the vectors of one embedding model are: those of different models are never mixed."""

    name: str
    dimensions: int


class Vector(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One text in one space. There is no vector without its space, and none of another size than its space's.

    Raises:
        ValueError: the values do not have the space's dimensions.
    """

    space: Space
    values: npt.NDArray[np.float32]
    """Shape (dimensions,), unit length."""

    def __post_init__(self) -> None:
        if self.values.shape != (self.space.dimensions,):
            raise ValueError(f"a vector of {self.space} cannot have the shape {self.values.shape}")


class Vectors(msgspec.Struct, frozen=True, eq=False):
    """Texts in one space, in order.

    Raises:
        ValueError: the rows do not have the space's dimensions.
    """

    space: Space
    rows: npt.NDArray[np.float32]
    """Shape (texts, dimensions), unit length in every row."""

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape[1] != self.space.dimensions:
            raise ValueError(f"vectors of {self.space} cannot have the shape {self.rows.shape}")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Vector]:
        return (Vector(self.space, row) for row in self.rows)

    def __getitem__(self, number: int) -> Vector:
        return Vector(self.space, self.rows[number])


class SearchFilters(msgspec.Struct, frozen=True):
    """All optional; those given are combined with AND."""

    entity: str | None = None
    """Entity key, for example `ticker:BTC`."""
    author: str | None = None
    lang: str | None = None
    source: str | None = None
    since: Micros | None = None
    """Inclusive, by event time."""
    until: Micros | None = None
    """Exclusive, by event time."""
    signed_in: bool = False
    """Whether the reader has an API key, and sees what authors keep from others. A vector index does not look at it."""


class Within(msgspec.Struct, frozen=True):
    """What a search narrows its legs down to, besides the filters that people give. Combined with them by AND."""

    up_to_pk: int | None = None
    """Posts that were stored later are left out: the moment at which a listing was begun."""
    entities: tuple[str, ...] = ()
    """Entity keys, all of which a post must carry."""
    not_entities: tuple[str, ...] = ()
    """None of which it may carry."""
    not_fingerprints: tuple[int, ...] = ()
    """Texts that have been seen often enough."""


EVERYTHING = Within()


class VectorPoint(msgspec.Struct, frozen=True):
    pk: int
    vector: Vector
    payload: Mapping[str, object]


class Hit(msgspec.Struct, frozen=True):
    """One answer of one leg, best first within its list."""

    pk: int
    score: float


class VectorIndex(Protocol):
    """Every method raises `VectorIndexUnavailable` when the engine cannot be used, whatever the reason."""

    async def ensure(self, space: Space) -> None:
        """Create the space and its payload indexes where they are missing. Idempotent."""
        ...

    async def upsert(self, points: Sequence[VectorPoint]) -> None:
        """Store each point in its vector's space, in place of what it had before, in whatever space that was."""
        ...

    async def delete(self, pks: Sequence[int]) -> None:
        """Absent ones are no error."""
        ...

    async def delete_before(self, instant: Micros) -> None:
        """Remove every post whose event time is before `instant`."""
        ...

    async def search(
        self, vector: Vector, filters: SearchFilters, limit: int, within: Within = EVERYTHING
    ) -> list[Hit]:
        """The nearest posts of the vector's own space."""
        ...

    async def clear(self) -> None:
        """Remove everything, with how it was kept; `ensure` makes it anew. Nothing there: no error."""
        ...

    async def drop(self, space: str) -> None:
        """Remove a space and what is left in it. Absent: no error."""
        ...

    async def spaces(self) -> list[Space]:
        """The spaces that the index has. None before the collection is made."""
        ...

    async def count(self) -> int: ...

    async def outdated(self, after: int, limit: int) -> list[int]:
        """The points above `after` that an earlier release stored in another form, ascending, at most `limit`.

        They can be found as ever. An upsert stores a point anew and removes the outdated one.
        """
        ...

    async def pks(self, after: int, limit: int) -> list[int]:
        """The points above `after`, ascending, at most `limit`. None before the collection is made."""
        ...

    async def close(self) -> None: ...


class Embedder(Protocol):
    """Turns texts into unit vectors of its own space. Its methods block: call them in a thread.

    Both raise `EmbeddingUnavailable` when the model has stopped working; the same texts can be tried again later.
    """

    @property
    def space(self) -> Space: ...

    @property
    def min_similarity(self) -> float:
        """Cosine below which two texts have nothing to do with each other, see `core.relatedness`."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, in order. Any text has a vector: empty ones, and ones beyond the model's length."""
        ...

    def embed_query(self, text: str) -> Vector:
        """As `embed`, with what this model wants in front of a question, where it wants anything."""
        ...


class Traits(msgspec.Struct, frozen=True):
    """What ranking asks of a post."""

    event_time: Micros
    fingerprint: int
    """Of its text, see `core.near_duplicates`."""


class LoadedModel(Embedder, Protocol):
    """An embedding model that has been loaded and proven."""

    @property
    def device(self) -> Device: ...

    @property
    def about(self) -> str:
        """Precision and where it came from, in a few words."""
        ...

    def close(self) -> None:
        """Let go of what it holds. Blocks for a moment; safe to call twice."""
        ...


class ModelLoader(Protocol):
    """Looks at the machine and loads models. Its methods block: call them in a thread."""

    def probe(self, *, with_cuda: bool) -> Hardware:
        """Never raises. CUDA is tried only where asked for."""
        ...

    def load(self, entry: ModelEntry, device: Device, hardware: Hardware) -> LoadedModel:
        """Bounded in time and memory.

        Raises:
            EmbeddingUnavailable: with what stood in the way.
        """
        ...

    def interrupt(self) -> None:
        """End whatever is loading or loaded, at once: the program stops."""
        ...


class Requeued(msgspec.Struct, frozen=True):
    posts: int
    lowest_pk: int | None
    """Of those posts; None where there were none."""


class SpaceStore(Protocol):
    """Which space each post is embedded in. Every method raises `StoreUnavailable`."""

    async def posts_by_space(self) -> dict[str, int]:
        """The spaces that hold posts."""
        ...

    async def queue_again(self, space: str, before: int | None, limit: int) -> Requeued:
        """Put the newest posts of `space` with a key below `before` into the outbox, to be embedded anew."""
        ...

    async def forget(self, space: str) -> None:
        """A space that holds nothing is not counted any more."""
        ...

"""Questions asked while posts move from one space into another: none is missed, whenever it moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from groundswell.core.embedding_chain import parse_chain
from groundswell.ports.vectors import Hit, Requeued, Vector
from groundswell.services.embeddings import EmbeddingChain
from groundswell.services.spaces import FEW_POSTS, ChainSpaces
from tests.unit.test_embedding_chain import Loader, Ticks

CHAIN = parse_chain(["static:new", "static:old"])


class Index:
    """Which space each post is in; the first named of a space answers a question best. Counted as it stands."""

    def __init__(self, **posts: list[int]) -> None:
        self.posts = posts
        self.others = 0
        """Posts of the old space that answer no question."""
        self.asked: list[str] = []
        self.after: dict[str, Callable[[], None]] = {}

    async def posts_by_space(self) -> dict[str, int]:
        old = {"old": len(self.posts["old"]) + self.others}
        return {space: posts for space, posts in ({"new": len(self.posts["new"])} | old).items() if posts}

    async def queue_again(self, space: str, before: int | None, limit: int) -> Requeued:
        raise NotImplementedError

    async def forget(self, space: str) -> None:
        raise NotImplementedError

    async def ask(self, vector: Vector, least: float) -> list[Hit]:
        space = vector.space.name
        self.asked.append(space)
        found = [Hit(pk, 1.0) for pk in self.posts[space]]
        self.after.pop(space, lambda: None)()
        return found

    def move(self, *pks: int) -> None:
        self.posts["old"] = [pk for pk in self.posts["old"] if pk not in pks]
        self.posts["new"] = [*pks, *(pk for pk in self.posts["new"] if pk not in pks)]


def asking(index: Index, scenario: Callable[[Callable[[], Awaitable[list[int]]]], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = Ticks()  # time stands still: whatever is kept for a while is kept
        chain = EmbeddingChain(CHAIN, Loader(), clock)
        await chain.load()
        spaces = ChainSpaces(chain, index, clock)

        async def found() -> list[int]:
            answer = await spaces.nearest("a question", index.ask)
            assert answer.degraded == []
            return [hit.pk for hit in answer.hits]

        try:
            await scenario(found)
        finally:
            await chain.close()

    asyncio.run(main())


@pytest.mark.parametrize("when", ["old", "new"])
def test_a_post_that_moves_while_it_is_asked_for_is_found_once(when: str) -> None:
    index = Index(old=[1, 2, 3, 4, 5], new=[11, 12, 13, 14])

    async def scenario(found: Callable[[], Awaitable[list[int]]]) -> None:
        index.after[when] = lambda: index.move(1)
        assert sorted(await found()) == [1, 2, 3, 4, 5, 11, 12, 13, 14]
        assert index.asked == ["old", "new"]

    asking(index, scenario)


def test_what_moved_since_the_last_question_is_ranked_by_how_much_is_in_each_space_now() -> None:
    index = Index(old=[1, 2, 3, 4, 5, 6, 7, 8, 9], new=[11])

    async def scenario(found: Callable[[], Awaitable[list[int]]]) -> None:
        assert (await found())[0] == 1
        index.move(1, 2, 3, 4, 5, 6)
        assert (await found())[0] == 1

    asking(index, scenario)


def test_a_space_that_was_empty_a_moment_ago_is_asked_as_soon_as_posts_move_into_it() -> None:
    index = Index(old=[1, 2, 3], new=[])

    async def scenario(found: Callable[[], Awaitable[list[int]]]) -> None:
        assert await found() == [1, 2, 3]
        index.move(1, 2)
        assert sorted(await found()) == [1, 2, 3]

    asking(index, scenario)


def test_many_posts_are_not_counted_for_every_question() -> None:
    index = Index(old=[1, 2, 3], new=[])
    index.others = FEW_POSTS

    async def scenario(found: Callable[[], Awaitable[list[int]]]) -> None:
        assert await found() == [1, 2, 3]
        index.move(1)
        assert await found() == [2, 3]  # one in so many: within what one space may lack to be asked alone

    asking(index, scenario)


def test_the_first_question_loads_the_model_of_a_chain_that_nobody_started() -> None:
    """As in a function, which may never be asked."""
    index = Index(old=[], new=[1, 2])

    async def main() -> None:
        clock = Ticks()
        chain = EmbeddingChain(CHAIN, Loader(), clock)
        spaces = ChainSpaces(chain, index, clock)
        assert chain.active is None
        found = await spaces.nearest("a question", index.ask)
        assert [hit.pk for hit in found.hits] == [1, 2]
        assert chain.active is not None
        await chain.close()

    asyncio.run(main())

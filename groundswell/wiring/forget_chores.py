"""`groundswell forget`: parts put together for as long as the command runs, whether or not a platform does."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import msgspec

from groundswell.adapters.handles import author_of
from groundswell.adapters.migrations import migrate
from groundswell.adapters.own_folder import own_folder
from groundswell.adapters.postgres_claims import PostgresClaims
from groundswell.adapters.postgres_forgetting import PostgresForgetting
from groundswell.adapters.postgres_indexed import PostgresIndexed
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import GroundswellError
from groundswell.ports.vectors import VectorIndex
from groundswell.services.forgetting import ArchiveAccess, Forgetting, Forgotten, Say
from groundswell.settings_model import EmbeddedSettings
from groundswell.wiring.chores import database
from groundswell.wiring.index_chores import open_index
from groundswell.wiring.maintenance import archive_parts, maintenance_pool, open_archive, scratch

INDEXED_WITHIN_S = 60.0
"""What a platform that runs is given to take the points out of the vector index."""
LOOK_EVERY_S = 0.5


class Outcome(msgspec.Struct, frozen=True):
    author: str
    removed: Forgotten
    seconds: float
    """How long it took."""
    vectors_wait: bool
    """Whether points are still in the vector index, which a running platform has not emptied yet."""


async def forget_author(settings: EmbeddedSettings, name: str, say: Say, stop: asyncio.Event) -> Outcome:
    """Remove everything of the author `name`.

    Raises: as `author_of`, `wiring.chores.database` and `Forgetting.forget`.
    """
    clock = SystemClock()
    began = clock.monotonic()
    author = await author_of(name)
    if author != name:
        say(f"{name} is {author}")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database(settings.database_url, settings.data_dir))
        await migrate(url)
        pool = await maintenance_pool(stack, url, wait_s=settings.database_pool_wait_s)
        store = PostgresForgetting(pool)
        access = None
        archive = open_archive(settings.archive, settings.data_dir, embedded=settings.database_url is None)
        if archive is not None:
            folder = stack.enter_context(own_folder(scratch(settings.data_dir) / "commands"))
            parts = archive_parts(archive, pool, folder / "files")
            access = ArchiveAccess(
                archive=archive,
                files=parts.files,
                cache=parts.cache,
                claims=PostgresClaims(pool),
                scratch=folder / "forget",
            )
        running = await PostgresIndexed(pool).is_indexing()
        index: VectorIndex | None = None
        failure: GroundswellError | None = None
        if not running:
            try:
                index = await stack.enter_async_context(open_index(settings))
            except GroundswellError as error:
                failure = error  # everything else goes first
        done = await Forgetting(store, access, index).forget(author, say, stop)
        if failure is not None:
            raise failure
        waits = running and done.finished and not await _emptied(store, say, stop)
    return Outcome(author, done, clock.monotonic() - began, waits)


async def _emptied(store: PostgresForgetting, say: Say, stop: asyncio.Event) -> bool:
    """Whether a running platform has taken all out of the vector index that is to go, within a while."""
    until = await store.newest_entry()
    deadline = asyncio.get_running_loop().time() + INDEXED_WITHIN_S
    said = False
    while await store.waiting_vectors(until, 1):
        if stop.is_set() or asyncio.get_running_loop().time() > deadline:
            return False
        if not said:
            say("The platform that runs takes the posts out of the vector index")
            said = True
        try:
            await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
        except TimeoutError:
            continue
    return True

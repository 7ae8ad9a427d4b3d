"""Moves old posts from Postgres to the archive, each exactly once.

A file at a time: claim its posts, write them, put file and manifest into the archive, read both back, and only then
take the posts out of Postgres, in the transaction that makes the file the place where they are. Until that commits,
Postgres has them and the file is nobody's; after it, the file has them. A mover that dies anywhere leaves a claim that
runs out, and a file that the next one discards.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from groundswell.core.retention import (
    FILE_ROWS,
    ArchiveRow,
    Manifest,
    archive_key,
    author_key,
    fits,
    manifest_name,
)
from groundswell.crash_points import CrashPoint, reach
from groundswell.errors import ArchiveDamaged, ArchiveUnavailable, GroundswellError, StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.archive import Archive, Claim, ClaimStore, PostFiles, Released
from groundswell.ports.time import Clock
from groundswell.services.archive_writing import write_file
from groundswell.services.withdrawals import Withdrawals

log = logging.getLogger(__name__)

LEASE_S = 900.0
"""A claim that is older belongs to a mover that died: as long as the longest Lambda runs."""
TICK_S = 60.0
"""How often withdrawals are settled, and how soon a mover that failed tries again."""


class Moved(msgspec.Struct):
    """What one run of the mover did."""

    posts: int = 0
    files: int = 0
    bytes: int = 0
    again: int = 0
    """Files that were discarded because another mover took the claim, or all of their posts changed meanwhile."""
    ended: Literal["done", "deadline", "stopped"] = "done"


class _OutOfTime(Exception):
    """The deadline came while a file was being written."""


class Mover:
    """Moves what is past the hot window, and settles what was withdrawn from the archive.

    Args:
        scratch: a folder for files on their way; each run has its own below it, and removes it.
        hot_s: how long posts stay in Postgres, in seconds.
        every_s: how often `run` looks for posts to move.
    """

    def __init__(
        self,
        claims: ClaimStore,
        archive: Archive,
        files: PostFiles,
        withdrawals: Withdrawals,
        clock: Clock,
        *,
        scratch: Path,
        hot_s: float,
        every_s: float = 3600.0,
        file_rows: int = FILE_ROWS,
        lease_s: float = LEASE_S,
        metrics: Metrics | None = None,
    ) -> None:
        self._claims = claims
        self._archive = archive
        self._files = files
        self._withdrawals = withdrawals
        self._clock = clock
        self._scratch = scratch
        self._hot_s = hot_s
        self._every_s = every_s
        self._file_rows = file_rows
        self._lease_s = lease_s
        self._metrics = metrics or Metrics()
        self._total = Moved()
        self._why: str | None = None
        self._moving = False

    async def run(self, stop: asyncio.Event) -> None:
        """Move now and every `every_s`, and settle withdrawals in between, until `stop`. Outages are waited out."""
        due_at = self._clock.monotonic()
        while not stop.is_set():
            try:
                await self._withdrawals.settle(stop)
                if self._clock.monotonic() >= due_at:
                    await self.move(stop)
                    due_at = self._clock.monotonic() + self._every_s
                self._why = None
            except (ArchiveUnavailable, StoreUnavailable) as error:
                if self._why != error.detail:
                    log.warning("the mover waits: %s", error.detail)
                self._why = error.detail
                self._metrics.inc("archive_failures_total")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK_S)

    def status(self) -> tuple[str, Mapping[str, object]]:
        """For `/v1/status`."""
        state = "waiting" if self._why else "running" if self._moving else "idle"
        return state, {
            "why": self._why,
            "where": self._archive.where,
            "hot_days": round(self._hot_s / 86_400, 3),
            "moved": self._total.posts,
            "files": self._total.files,
        }

    async def move(
        self, stop: asyncio.Event | None = None, *, within_s: float | None = None, settle: bool = False
    ) -> Moved:
        """Move all that is due, or as much as fits into `within_s` seconds. `settle`: withdrawals first.

        Raises:
            ArchiveUnavailable: nothing more can be moved now; every post is where it was.
            StoreUnavailable: the same.
        """
        deadline = None if within_s is None else self._clock.monotonic() + within_s
        if settle:
            await self._withdrawals.settle(stop)
        report, longest = Moved(), 0.0
        self._moving = True
        try:
            await self._tidy()
            while True:
                if stop is not None and stop.is_set():
                    report.ended = "stopped"
                    return report
                if not fits(self._left(deadline), longest):
                    report.ended = "deadline"
                    return report
                claim = await self._claims.claim(hot_s=self._hot_s, limit=self._file_rows, lease_s=self._lease_s)
                if claim is None:
                    return report
                reach(CrashPoint.MOVER_AFTER_CLAIM)
                started = self._clock.monotonic()
                try:
                    done = await self._move(claim, deadline)
                except _OutOfTime:
                    report.ended = "deadline"
                    return report
                longest = max(longest, self._clock.monotonic() - started)
                self._count(report, claim, done)
        finally:
            self._moving = False
            await self._discard_quietly()

    def _left(self, deadline: float | None) -> float | None:
        return None if deadline is None else deadline - self._clock.monotonic()

    def _count(self, report: Moved, claim: Claim, done: tuple[Manifest, int] | None) -> None:
        if done is None:
            report.again += 1
            log.info(
                "posts of %s (%s) changed while they were written; they are taken next time", claim.day, claim.source
            )
            return
        manifest, posts = done
        for tally in (report, self._total):
            tally.posts += posts
            tally.files += 1
            tally.bytes += manifest.bytes
        self._metrics.inc("archive_posts_moved_total", posts)
        log.info("moved %d posts of %s (%s) to %s", posts, claim.day, claim.source, manifest.file)

    async def _move(self, claim: Claim, deadline: float | None) -> tuple[Manifest, int] | None:
        """Move one file; answers how many posts left Postgres. None, and the claim is given up, where none did."""
        try:
            with tempfile.TemporaryDirectory(prefix="groundswell-mover-", dir=self._made(self._scratch)) as folder:
                manifest, posts = await self._write(claim, Path(folder), deadline)
            if manifest is not None and (left := await self._claims.release(claim, manifest, posts)):
                reach(CrashPoint.MOVER_AFTER_RELEASE)
                return manifest, left
        except BaseException as error:
            # Whatever it was, the posts are free for the next attempt; where Postgres is away, the lease sees to it.
            with suppress(StoreUnavailable):
                if not await self._claims.give_up(claim) and isinstance(error, ArchiveDamaged):
                    return None  # another mover took the claim over, and deleted the file
            if isinstance(error, OSError):
                raise ArchiveUnavailable(
                    f"Cannot write {claim.name} at {self._scratch}: {error.strerror or error}. "
                    "Free some space there; posts stay in Postgres until it works."
                ) from error
            raise
        await self._claims.give_up(claim)
        return None

    async def _write(
        self, claim: Claim, folder: Path, deadline: float | None
    ) -> tuple[Manifest | None, Sequence[Released]]:
        posts: list[Released] = []
        pages = self._noted(claim, posts, deadline)
        manifest = await write_file(
            self._archive, self._files, folder, pages, name=claim.name, day=claim.day, source=claim.source
        )
        return manifest, posts

    async def _noted(
        self, claim: Claim, posts: list[Released], deadline: float | None
    ) -> AsyncGenerator[Sequence[ArchiveRow]]:
        """The claimed posts on their way into the file, with what it takes to release them."""
        async for page in self._claims.claimed(claim):
            left = self._left(deadline)
            if left is not None and left <= 0:
                raise _OutOfTime
            posts += [Released(row.pk, row.rev, archive_key(row.id), author_key(row.author)) for row in page]
            yield page

    async def _tidy(self) -> None:
        expired = await self._claims.expire()
        if expired:
            log.warning("%d claims of movers that died are given up: their posts are moved again", expired)

    async def _discard_quietly(self) -> None:
        """Delete files that nobody needs. They are harmless, so failing at it fails nothing."""
        try:
            for file_id, name in await self._claims.discarded():
                await self._archive.delete(manifest_name(name))
                await self._archive.delete(name)
                reach(CrashPoint.MOVER_AFTER_DISCARD)
                await self._claims.forget(file_id)
        except GroundswellError as error:
            log.info("discarded files stay for now: %s", error.detail)

    @staticmethod
    def _made(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

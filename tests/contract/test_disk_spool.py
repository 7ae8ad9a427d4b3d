"""The spool on a real disk: in order, bounded, whole after any kill, and honest about what it lost."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.adapters import disk_spool
from groundswell.adapters.disk_spool import DiskSpool
from groundswell.core.posts import Deleted, Post
from groundswell.errors import DataDirectoryError
from groundswell.ports.spool import Spooled, SpoolFull
from groundswell.ports.storing import Batch, GapCloses, GapOpens, ResumePoint, Work

T0 = 1_783_175_880_000_000


def batch(n: int, posts: int = 2) -> Batch:
    at = T0 + n * 1_000_000
    made = [
        Post(
            id=f"at://did:plc:a/app.bsky.feed.post/{n}-{i}", source="s", author="did:plc:a",
            text=f"{n} ☀ {os.urandom(40).hex()}",
            event_time=at, rev=f"{n:06}", cursor=at, entities=("hashtag:kcon",), lang="en",
        )
        for i in range(posts)
    ]  # fmt: skip
    gone = [Deleted(source="s", author="did:plc:b", event_time=at, cursor=at, id=f"gone-{n}")]
    return Batch(source="s", posts=made, deletes=gone, cursor=at, covered_from=T0, covered_until=at)


def spooled(n: int, work: Work | None = None) -> Spooled:
    return Spooled(work or batch(n), before=ResumePoint(T0 + n, T0 + n), spooled_at=T0 + n)


@contextmanager
def opened(folder: Path, *, max_bytes: int = 10_000_000, segment_bytes: int = 4096) -> Iterator[DiskSpool]:
    spool = DiskSpool(folder, max_bytes=max_bytes, segment_bytes=segment_bytes)
    try:
        yield spool
    finally:
        spool.close()


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


async def drain(spool: DiskSpool, count: int | None = None) -> list[int | None]:
    """The numbers (`spooled_at`) of what was drained; None for damage."""
    seen: list[int | None] = []
    while items := await spool.read():
        for item in items:
            if count is not None and len(seen) >= count:
                return seen
            seen.append(None if item.spooled is None else item.spooled.spooled_at - T0)
            spool.done(item)
    return seen


def run(main: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main, 60)

    asyncio.run(bounded())


def test_work_of_every_kind_comes_back_as_it_was(tmp_path: Path) -> None:
    works = [batch(1), GapOpens("disconnect", T0, "cut"), GapCloses(T0 + 5, backfilled=True), batch(2, posts=0)]

    async def main() -> None:
        with opened(tmp_path) as spool:
            for n, work in enumerate(works):
                await spool.append(spooled(n, work))
            assert (spool.depth, spool.items, spool.oldest) == (4, 4, T0)
            back = [item.spooled for item in await spool.read()]
        assert [one.work if one is not None else None for one in back] == [
            Batch(
                **{f: getattr(w, f) for f in Batch.__struct_fields__}
                | {"posts": list(w.posts), "accounts": list(w.accounts), "profiles": list(w.profiles)}
            )
            if isinstance(w, Batch)
            else w
            for w in works
        ]

    run(main())


def test_what_waits_is_drained_in_order_across_segments_and_leaves_no_file(tmp_path: Path) -> None:
    async def main() -> None:
        with opened(tmp_path) as spool:
            for n in range(60):
                await spool.append(spooled(n))
            assert len(segments(tmp_path)) > 3
            assert await drain(spool) == list(range(60))
            assert (spool.depth, spool.items, spool.size, spool.oldest) == (0, 0, 0, None)
            assert segments(tmp_path) == []
            await spool.append(spooled(60))
            assert await drain(spool) == [60]

    run(main())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.just("append"), st.integers(1, 5), st.just("restart")), max_size=30))
def test_any_mixture_of_appending_draining_and_restarting_is_one_queue(steps: list[str | int]) -> None:
    async def main(folder: Path) -> None:
        waiting: list[int] = []
        n = 0
        spool = DiskSpool(folder, max_bytes=10_000_000, segment_bytes=1500)
        try:
            for step in steps:
                if step == "append":
                    await spool.append(spooled(n))
                    waiting.append(n)
                    n += 1
                elif step == "restart":
                    spool.close()
                    spool = DiskSpool(folder, max_bytes=10_000_000, segment_bytes=1500)
                    assert [one and one.spooled_at - T0 for one in (spool.first, spool.last)] == (
                        [waiting[0], waiting[-1]] if waiting else [None, None]
                    )
                else:
                    assert isinstance(step, int)
                    assert await drain(spool, step) == waiting[:step]
                    del waiting[:step]
                assert spool.depth == len(waiting)
                assert spool.items == 3 * len(waiting)
            assert await drain(spool) == waiting
        finally:
            spool.close()

    with tempfile.TemporaryDirectory() as folder:
        run(main(Path(folder)))


def test_draining_while_more_is_appended_keeps_the_order(tmp_path: Path) -> None:
    async def main() -> None:
        with opened(tmp_path, segment_bytes=2000) as spool:
            seen: list[int | None] = []

            async def append_all() -> None:
                for n in range(200):
                    await spool.append(spooled(n))

            appending = asyncio.create_task(append_all())
            while not appending.done() or spool.depth:
                seen += await drain(spool)
                await asyncio.sleep(0)
            await appending
            assert seen == list(range(200))
            assert segments(tmp_path) == []

    run(main())


def test_a_torn_last_record_is_cut_off_and_all_before_it_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        with opened(tmp_path, segment_bytes=1_000_000) as spool:
            for n in range(5):
                await spool.append(spooled(n))
        (path,) = segments(tmp_path)
        whole = path.read_bytes()
        for cut in (len(whole) - 1, len(whole) - 40, len(whole) - 200):
            path.write_bytes(whole[:cut])
            with opened(tmp_path, segment_bytes=1_000_000) as spool:
                assert spool.depth == 4
                assert spool.last is not None
                assert spool.last.spooled_at == T0 + 3
                assert [item.spooled is None for item in await spool.read()] == [False] * 4

    run(main())


@pytest.mark.parametrize("hit", [0, 2, 4])
def test_a_damaged_record_is_named_and_all_others_are_read(tmp_path: Path, hit: int) -> None:
    async def main() -> None:
        ends: list[int] = []
        with opened(tmp_path, segment_bytes=1_000_000) as spool:
            for n in range(5):
                await spool.append(spooled(n))
                ends.append(spool.size)
            await spool.append(spooled(5))
        (path,) = segments(tmp_path)
        data = bytearray(path.read_bytes())
        data[ends[hit] - 3] ^= 255
        path.write_bytes(data)
        with opened(tmp_path, segment_bytes=1_000_000) as spool:
            expected: list[int | None] = list(range(6))
            expected[hit] = None
            assert await drain(spool) == expected
            assert spool.depth == 0

    run(main())


def test_a_segment_that_is_gone_or_zeroed_is_damage_and_not_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        with opened(tmp_path, segment_bytes=1500) as spool:
            for n in range(20):
                await spool.append(spooled(n))
        paths = segments(tmp_path)
        paths[1].write_bytes(bytes(paths[1].stat().st_size))
        with opened(tmp_path, segment_bytes=1500) as spool:
            paths[2].unlink()
            seen = await drain(spool)
        assert seen[0] == 0
        assert seen.count(None) == 2
        assert seen[-1] == 19

    run(main())


def test_a_spool_that_is_full_keeps_what_it_has_and_takes_more_once_it_is_drained(tmp_path: Path) -> None:
    async def main() -> None:
        with opened(tmp_path, max_bytes=8000) as spool:
            n = 0
            with pytest.raises(SpoolFull, match="of at most 0 MB"):
                for n in range(1000):
                    await spool.append(spooled(n))
            assert spool.size <= 8000
            assert spool.depth == n
            assert await drain(spool) == list(range(n))
            await spool.append(spooled(n))
            assert await drain(spool) == [n]

    run(main())


def test_a_full_disk_is_said_and_what_was_written_half_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite

    def out_of_space(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) > 100:
            return write(descriptor, data[:100], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        with opened(tmp_path) as spool:
            await spool.append(spooled(0))
            with monkeypatch.context() as broken:
                broken.setattr(disk_spool.os, "pwrite", out_of_space)
                for _ in range(3):
                    with pytest.raises(SpoolFull, match=r"disk of .* is full"):
                        await spool.append(spooled(1))
            await spool.append(spooled(1))
            assert await drain(spool) == [0, 1]
        with opened(tmp_path) as spool:
            assert spool.depth == 0

    run(main())


def test_a_disk_that_takes_nothing_at_all_is_drained_and_what_it_could_not_note_is_only_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def out_of_space(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        with opened(tmp_path) as spool:
            assert (tmp_path / "position").stat().st_size > 0, "its place is taken while there is room"
            for n in range(3):
                await spool.append(spooled(n))
            with monkeypatch.context() as broken:
                broken.setattr(disk_spool.os, "pwrite", out_of_space)
                assert await drain(spool, 2) == [0, 1]
        assert caplog.text.count("cannot be noted") == 1
        with opened(tmp_path) as spool:
            assert await drain(spool) == [0, 1, 2]
        with opened(tmp_path) as spool:
            assert spool.depth == 0

    run(main())


def test_a_spool_on_a_disk_that_is_full_from_the_start_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_space(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        with monkeypatch.context() as broken:
            broken.setattr(disk_spool.os, "pwrite", out_of_space)
            with opened(tmp_path) as spool, pytest.raises(SpoolFull, match=r"disk of .* is full"):
                await spool.append(spooled(0))

    run(main())


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.contract.test_disk_spool import DiskSpool, spooled

async def main():
    spool = DiskSpool(Path({folder!r}), max_bytes=10_000_000, segment_bytes=3000)
    n = 0 if spool.last is None else spool.last.spooled_at - spooled(0).spooled_at + 1
    while True:
        await spool.append(spooled(n))
        print(n, flush=True)
        n += 1

asyncio.run(main())
"""


def test_sigkill_at_any_time_keeps_all_that_was_acknowledged(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    acknowledged = -1
    for after in (1, 7, 40):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED.format(root=root, folder=str(tmp_path))], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for count, line in enumerate(process.stdout, 1):
            acknowledged = int(line)
            if count == after:
                process.send_signal(signal.SIGKILL)
        process.wait()

    async def main() -> None:
        with opened(tmp_path) as spool:
            seen = await drain(spool)
        assert seen[: acknowledged + 1] == list(range(acknowledged + 1))
        assert seen == list(range(len(seen)))
        assert len(seen) <= acknowledged + 2  # one may have been on its way

    run(main())


def test_a_folder_that_another_process_uses_or_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(DataDirectoryError, match="Another Groundswell"):
        DiskSpool(tmp_path, max_bytes=1)
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match="cannot be used"):
        DiskSpool(tmp_path / "file", max_bytes=1)


def test_what_the_store_had_is_remembered_and_a_damaged_note_is_no_note(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        assert spool.remembered() is None
        spool.remember(ResumePoint(7, 8), -3)
    with opened(tmp_path) as spool:
        assert spool.remembered() == (ResumePoint(7, 8), -3)
        (tmp_path / "resume").write_bytes(b'{"point"')
        assert spool.remembered() is None

"""`archive`: movers die at every step and at random, two at once, their clocks months apart; and a byte flips."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from urllib.parse import quote

from groundswell.crash_points import EXIT_CODE, CrashPoint
from groundswell.drills.harness.archive import MOVE, archive_command, archived_posts, let_leases_end
from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

DAY_S = 86_400
AGE_S = 40 * DAY_S
AHEAD, BEHIND, JUMPING = f"{60 * DAY_S}", f"-{60 * DAY_S}", f"{60 * DAY_S}/1"
"""How wrong the clocks of movers are: with them, all of the stream would be due, or none of it."""
MOVER_POINTS = tuple(point for point in CrashPoint if point.service == "mover")
SETTLING = frozenset({CrashPoint.MOVER_BEFORE_SETTLE, CrashPoint.MOVER_AFTER_SETTLE})
DEATH_LIMIT_S = 60.0
MOVE_TO_DEATH = ("move", "--within", "50")
"""Long enough to get to any point on a busy machine; a point that is not reached ends it all the same."""
MOVERS_FOR_A_DEATH = 4
"""Another mover may settle what was deleted first; this one then ends well before it gets to the point."""
DAMAGED = 70
"""What `archive verify` exits with where a file is not what was written."""


async def course(rig: Rig) -> None:
    await _not_due_yet(rig)
    # A hot window that is over at once: what is stored from now on has been here for a month.
    await rig.query("ALTER TABLE posts ALTER COLUMN ingested_at SET DEFAULT clock_timestamp() - interval '30 days'")
    await rig.query("UPDATE posts SET ingested_at = ingested_at - interval '30 days'")
    for _ in range(3 if rig.full else 1):
        for point in MOVER_POINTS:
            await _die_at(rig, point)
    await _two_at_once(rig, kills=8 if rig.full else 1)
    await _flip_a_byte(rig)
    await _bring_back(rig)
    await rig.recover("movers that died")


async def _not_due_yet(rig: Rig) -> None:
    rig.say("a mover looks whose clock is two months ahead: what has just been stored stays all the same")
    stored = await rig.stored_posts()
    code, _ = await archive_command(rig, *MOVE, GROUNDSWELL_CLOCK_SKEW=AHEAD)
    moved = await _files(rig)
    rig.check(
        "a mover whose clock is ahead moves nothing before its time",
        code == 0 and moved == 0 and stored > 0,
        f"{moved} files, {stored} posts",
        promised="0 files",
    )


async def _die_at(rig: Rig, point: CrashPoint) -> None:
    rig.say(f"a mover whose clock is two months behind dies at {point.value}")
    # The last step comes when a mover has moved all that it is given the time for.
    move = MOVE if point is CrashPoint.MOVER_AFTER_DISCARD else MOVE_TO_DEATH
    code, said = 0, ""
    for _ in range(MOVERS_FOR_A_DEATH):
        if point in SETTLING:
            await rig.until(lambda: _withdrawn(rig), "a post that is archived was deleted")
        else:
            await rig.until(lambda: _due(rig), "there is something to move")
        wrong = {"GROUNDSWELL_CLOCK_SKEW": BEHIND, "GROUNDSWELL_CRASH_POINT": point.value}
        code, said = await archive_command(rig, *move, **wrong)
        if code != 0:
            break
        await let_leases_end(rig)
    rig.check(f"a mover died at {point.value}", code == EXIT_CODE, f"exit code {code}", promised=f"{EXIT_CODE}")
    if code != EXIT_CODE:
        rig.say(said)
    await let_leases_end(rig)


async def _due(rig: Rig) -> bool:
    return bool(await rig.ask("SELECT 1 FROM posts LIMIT 1"))


async def _withdrawn(rig: Rig) -> bool:
    return bool(await rig.ask("SELECT 1 FROM archive_withdrawals WHERE NOT settled LIMIT 1"))


async def _two_at_once(rig: Rig, *, kills: int) -> None:
    """Posts go on coming and are due at once, so that movers find something to do whenever they look."""
    rng = Random(rig.seed)  # noqa: S311 -- chooses moments, guards nothing
    for n in range(kills):
        rig.say(f"two movers at once, and SIGKILL of both, {n + 1} of {kills}")
        movers = await asyncio.gather(*(rig.run(f"mover-{n}-{k}", "archive", "move") for k in range(2)))
        known = await _files(rig)

        async def at_work(known: int = known) -> bool:
            return await _files(rig) > known

        await rig.until(at_work, "one of them has begun a file")
        await rig.pause(rng.random() * 0.1)
        for mover in movers:
            await mover.kill()
        await let_leases_end(rig)
    rig.say("two movers at once, to their end: the clock of one is ahead, that of the other jumps")
    movers = await asyncio.gather(
        *(
            rig.run(f"mover-{k}", "archive", *MOVE, GROUNDSWELL_CLOCK_SKEW=skew)
            for k, skew in enumerate((AHEAD, JUMPING))
        )
    )
    codes = [await mover.ended(DEATH_LIMIT_S) for mover in movers]
    rig.check("two movers at once end well", codes == [0, 0], codes, promised="exit codes 0")


async def _files(rig: Rig) -> int:
    rows = await rig.ask("SELECT coalesce(max(id), 0) FROM archive_files")
    return rows[0][0] if rows else 0


async def _flip_a_byte(rig: Rig) -> None:
    rows = await rig.query("SELECT manifest->>'file' FROM archive_files WHERE state = 'archived' ORDER BY id LIMIT 1")
    file = rig.archive_dir / rows[0][0]
    rig.say(f"a byte of {file.name} flips")
    whole = await asyncio.to_thread(file.read_bytes)
    at = len(whole) // 2
    await asyncio.to_thread(file.write_bytes, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    code, said = await archive_command(rig, "verify")
    rig.check(
        "a flipped byte is found and its file named",
        code == DAMAGED and file.name in said,
        f"exit code {code}" + (", named" if file.name in said else ""),
        promised=f"exit code {DAMAGED} and the name",
    )
    await asyncio.to_thread(file.write_bytes, whole)
    code, said = await archive_command(rig, "verify")
    rig.check("the file from a copy is whole again", code == 0, f"exit code {code}", promised="exit code 0")


async def _bring_back(rig: Rig) -> None:
    posts = await archived_posts(rig)
    rig.check("posts are in the archive", len(posts) > 0, len(posts), promised="some")
    found = await rig.get(f"/v1/posts/{quote(posts[0][0], safe='')}") if posts else None
    rig.check(
        "an archived post is read by its id",
        found is not None and found.get("archived") is True and found["data"]["id"] == posts[0][0],
        None if found is None else found.get("archived", found.get("detail")),
        promised="archived: true",
    )
    day = Path(next(iter(rig.archive_dir.glob("posts/v1/day=*")))).name.removeprefix("day=")
    rig.say(f"{day} is restored, by a process that dies on the way and then by one that does not")
    code, _ = await archive_command(rig, "restore", day, GROUNDSWELL_CRASH_POINT=CrashPoint.RESTORE_AFTER_FILE.value)
    rig.check("a restore died on the way", code == EXIT_CODE, f"exit code {code}", promised=f"{EXIT_CODE}")
    code, said = await archive_command(rig, "restore", day)
    rig.check("a day is restored", code == 0, said.splitlines()[-1] if said else code, promised="exit code 0")


DRILL = Drill(
    name="archive",
    breaks="movers are killed at every step and at random, two at once, with clocks months apart; a byte flips",
    promises="every post moves when it is due, is in one place and counts once; damage is named; a day comes back",
    setup=Setup(
        posts_per_second=60,
        # An edit of what is archived already is not applied, by design: there are none here, but many deletions.
        world={"update_share": 0.0, "delete_share": 0.06},
        age_s=AGE_S,
        archive=True,
        environment={"GROUNDSWELL_ARCHIVE_EVERY_MINUTES": "1440"},
    ),
    course=course,
    short_s=45,
)

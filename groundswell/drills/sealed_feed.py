"""`sealed-feed`: an encrypted feed loses, damages, repeats and shuffles frames, ends sessions and changes keys."""

from __future__ import annotations

from groundswell.adapters.simulator.sealed import SealedServer
from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

POSTS = 100
FORGET_EVERY = 50


async def course(rig: Rig) -> None:
    feed = rig.feed.host
    assert isinstance(feed, SealedServer), "the setup asks for one"
    for _ in range(4 if rig.full else 1):
        rig.say("a tenth of the frames vanish, others are damaged, come twice, late or again from the past")
        _disturb(feed)
        await rig.more_posts(POSTS)
        feed.faults.calm()
        await rig.recover("frames that were lost, damaged, repeated and shuffled")

        rig.say("every session ends, the feed answers 503 for a while, and then does not know a session")
        feed.faults.refuse(503, times=1)
        feed.expire()
        await rig.more_posts(POSTS // 2)
        feed.faults.refuse(401, times=1, at="stream")
        feed.faults.drop()
        await rig.more_posts(POSTS // 2)
        await rig.recover("sessions that ended")

        rig.say("the relay is killed while frames are missing")
        _disturb(feed)
        await rig.more_posts(POSTS // 2)
        await rig.relay.kill()
        await rig.start_relay()
        await rig.more_posts(POSTS // 2)
        feed.faults.calm()
        await rig.recover("a killed relay")
    lasting = await rig.ask("SELECT count(*) FROM gaps WHERE NOT backfilled")
    rig.check("what the feed sends again is no gap that stays", lasting == [(0,)], lasting, promised="[(0,)]")

    rig.say(f"every {FORGET_EVERY}th frame is gone for good, though it has a number")
    feed.forget_every = FORGET_EVERY

    async def given_up() -> bool:
        return await _lasting_holes(rig) > 0

    # A relay that is behind gets there later, and would be sent what the feed remembers by then.
    await rig.until(given_up, "a hole that stays is recorded")
    feed.forget_every = None
    await rig.recover("frames that the feed no longer has")
    holes = await _lasting_holes(rig)
    rig.check("what it no longer has is a gap", holes > 0, holes, promised="some, of sequence")
    said = "".join(log.read_text("utf-8", "replace") for log in (rig.folder / "logs").iterdir())
    shown = [name for name, secret in rig.feed.secrets.items() if secret in said]
    shown += ["a session's token" for token in feed.tokens if token in said]
    rig.check("no key and no token is in a log, at the level debug", not shown, shown or "none", promised="none")


async def _lasting_holes(rig: Rig) -> int:
    rows = await rig.ask(
        "SELECT count(*) FROM gaps WHERE cause = 'sequence' AND closed_at IS NOT NULL AND NOT backfilled"
    )
    return rows[0][0] if rows else 0


def _disturb(feed: SealedServer) -> None:
    feed.faults.lose(0.1)
    feed.faults.corrupt(0.05)
    feed.faults.duplicate(0.1)
    feed.faults.replay(0.1)
    feed.faults.reorder(8)


DRILL = Drill(
    name="sealed-feed",
    breaks="an encrypted feed loses, damages, repeats and shuffles frames, ends sessions, changes keys and forgets",
    promises="what can be sent again is stored once, what cannot is a recorded gap, and no secret is in a log",
    setup=Setup(posts_per_second=60, sealed=True, relay={"GROUNDSWELL_LOG_LEVEL": "debug"}),
    course=course,
    short_s=60,
)

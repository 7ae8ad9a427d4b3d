"""`embeddings-broken`: no embedding model can be loaded, and later one can."""

from __future__ import annotations

from typing import Any

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

WORKING = "static:wordllama-256"


async def course(rig: Rig) -> None:
    rig.say("no model of the chain can be loaded: posts are stored, found by words, and wait in the outbox")
    await rig.more_posts(200 if not rig.full else 2000)

    async def reported() -> bool:
        return _component(await rig.get("/v1/status"), "embeddings").get("state") == "disabled"

    await rig.until(reported, "the status says that embeddings are off")
    embeddings = _component(await rig.get("/v1/status"), "embeddings")
    rig.check(
        "the status names the model and says why",
        "static:missing" in str(embeddings.get("why")),
        embeddings.get("why"),
        promised="a sentence",
    )
    answer = await rig.get("/v1/search?q=coffee")
    rig.check(
        "search goes on by words, and says so",
        answer is not None and answer.get("legs") == ["lexical"] and "embeddings" in answer.get("degraded", ()),
        None if answer is None else (answer.get("legs"), answer.get("degraded")),
        promised="lexical leg only",
    )
    waiting = await rig.query("SELECT count(*) FROM outbox")
    rig.check("posts wait for a model", waiting[0][0] > 0, waiting[0][0], promised="in the outbox")

    rig.say("the model is there after a restart: what waited gets its vectors")
    with rig.prober.api_away():
        await rig.api.kill()
        await rig.start_api(GROUNDSWELL_EMBEDDING_CHAIN=WORKING)
    await rig.relay.stop()
    await rig.start_relay(GROUNDSWELL_EMBEDDING_CHAIN=WORKING)
    await rig.recover("the model came back")

    async def caught_up() -> bool:
        rows = await rig.ask(
            "SELECT count(*) FROM posts p WHERE NOT EXISTS (SELECT 1 FROM post_vectors v WHERE v.post_pk = p.pk)"
        )
        return bool(rows) and rows[0][0] <= 60

    seconds = await rig.until(caught_up, "what waited is indexed", limit_s=90)
    rig.check("what waited is indexed", True, f"{seconds:.1f} s", promised="soon")
    answer = await rig.get("/v1/search?q=coffee")
    rig.check(
        "search by meaning is back",
        answer is not None and "semantic" in answer.get("legs", ()),
        None if answer is None else answer.get("legs"),
        promised="both legs",
    )


def _component(status: dict[str, Any] | None, name: str) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [] if status is None else status.get("components", [])
    nothing: dict[str, Any] = {}
    return next((part for part in parts if part["component"] == name), nothing)


DRILL = Drill(
    name="embeddings-broken",
    breaks="no embedding model can be loaded; after a restart one can",
    promises="the platform runs without, says so, and gives every post its vector once there is a model",
    setup=Setup(posts_per_second=60, vectors=True, environment={"GROUNDSWELL_EMBEDDING_CHAIN": "static:missing-model"}),
    course=course,
    short_s=55,
)

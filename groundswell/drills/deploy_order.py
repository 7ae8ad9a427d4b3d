"""`deploy-order`: services come up before their migration, and an old service meets a newer schema."""

from __future__ import annotations

from groundswell.adapters.migrations import REQUIRED_VERSION, migrate
from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill
from groundswell.drills.harness.services import Service

BEFORE_S = 3.0
WAITS_FOR = f"Waiting for schema version {REQUIRED_VERSION} (now none)"


async def course(rig: Rig) -> None:
    rig.say("relay and API start on a database without a schema")
    await rig.start_relay()
    await rig.start_api(wait=False)
    for service in (rig.relay, rig.api):

        async def says_so(service: Service = service) -> bool:
            return service.said(WAITS_FOR)

        seconds = await rig.until(says_so, f"the {service.name} says what it waits for")
        rig.check(
            f"the {service.name} says what it waits for", service.alive, f"after {seconds:.1f} s", promised=WAITS_FOR
        )
    await rig.pause(BEFORE_S)
    rig.check("both wait, and neither has ended", rig.relay.alive and rig.api.alive, "both run")
    rig.say("now the migration")
    await migrate(rig.database_url)
    await rig.start_probing_when_ready()
    await rig.recover("the migration")

    rig.say("the next release migrates first: an old relay and an old API meet a newer schema")
    await rig.query("ALTER TABLE posts ADD COLUMN of_the_next_release text NOT NULL DEFAULT 'x'")
    await rig.query("CREATE TABLE of_the_next_release (id bigint PRIMARY KEY)")
    await rig.query("UPDATE alembic_version SET version_num = '9999'")
    await rig.more_posts(60)
    ready = await rig.get("/readyz")
    rig.check(
        "the running API stays ready on a newer schema",
        ready is not None and ready.get("status") == "ready",
        None if ready is None else ready.get("status", ready.get("detail")),
        promised="ready",
    )
    with rig.prober.api_away():
        await rig.api.kill()
        await rig.start_api()
    await rig.relay.kill()
    await rig.start_relay()
    await rig.recover("a restart of the old release on the newer schema")

    rig.say("the schema of an older release: a new API does not pretend to be ready")
    await rig.query("UPDATE alembic_version SET version_num = '0000'")
    ready = await rig.get("/readyz")
    rig.check(
        "an API whose schema is too old says so",
        ready is not None and ready.get("status") == 503 and "groundswell migrate" in str(ready.get("detail")),
        None if ready is None else ready.get("detail"),
        promised="503, naming the version and the command",
    )
    await rig.query("UPDATE alembic_version SET version_num = %s", (REQUIRED_VERSION,))
    await rig.recover("the schema came back")


DRILL = Drill(
    name="deploy-order",
    breaks="relay and API start before their migration; an old release meets a newer schema, a new one an older",
    promises="services wait, bounded, and say for what; a newer schema keeps the previous release working",
    setup=Setup(migrated=False, starts=()),
    course=course,
    short_s=45,
)

"""What is rehearsed: each act drives the deployed platform as a user or an operator would, and says what it saw."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from cdk.assets import BESIDE_THE_RUNTIME, IN_THE_RUNTIME
from groundswell.core.api_keys import KEY_PREFIX
from groundswell.errors import EX_CONFIG, EX_USAGE
from rehearsal import deployed, local_aws
from rehearsal.authority import Authority
from rehearsal.deploying import ROOT
from rehearsal.invoke_endpoint import InvokeEndpoint
from rehearsal.local_lambda import FunctionFailed
from rehearsal.network import HOST
from rehearsal.stage import Stage, make_user

Act = Callable[[Stage], Awaitable[str]]
PATIENCE_S = 45.0
STOP_GRACE_S = 60.0
"""What the task's stop timeout leaves."""
OLD_POSTS = 60
FORGED = 20
_RATE = re.compile(r"rate\((\d+) (minutes?|hours?|days?)\)")


class Failed(Exception):
    """An act did not see what it has to; the text says what it saw."""


def expect(holds: object, otherwise: object) -> None:
    if not holds:
        raise Failed(str(otherwise))


# ------------------------------------------------------------------ clients
class Here(AbstractResolver):
    """Every name leads to the gateway."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        del port, family
        return [ResolveResult(hostname=host, host=HOST, port=self._port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        """Holds nothing."""


@asynccontextmanager
async def browser(stage: Stage) -> AsyncGenerator[aiohttp.ClientSession]:
    tls: ssl.SSLContext = stage.certificates.for_client()
    connector = aiohttp.TCPConnector(resolver=Here(stage.gateway_port), ssl=tls)
    timeout = aiohttp.ClientTimeout(total=40)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


async def get(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers, and the body: JSON where it is."""
    async with session.get(url, headers=headers) as answer:
        text = await answer.text()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, answer.headers, json.loads(text) if is_json else text


async def until(what: str, ask: Callable[[], Awaitable[Any]], limit_s: float = PATIENCE_S) -> Any:
    """The first answer of `ask` that holds. What is waited for is another process's doing, which tells nobody."""
    ends, last = time.monotonic() + limit_s, None
    while time.monotonic() < ends:
        last = await ask()
        if last:
            return last
        await asyncio.sleep(0.25)
    raise Failed(f"{what}: not within {limit_s:g} s, last {last!r}")


# ------------------------------------------------------------------ deploying
async def migration(stage: Stage) -> str:
    (trigger,) = deployed.of_kind("Custom::Trigger")
    migrate = stage.deployed["migrate"]
    expect(str(trigger.properties["HandlerArn"]).startswith(f"{migrate.arn}:"), trigger.properties)
    expect(len(stage.triggered) == 1, stage.triggered)
    done = json.loads(stage.triggered[0])
    expect(done["before"] is None and done["after"], done)
    expect(set(done["logins"].values()) == {"made"}, done)
    again = await stage.functions[migrate.arn].invoke({})
    kept = dict.fromkeys(done["logins"], "kept")
    expect(again == {"before": done["after"], "after": done["after"], "logins": kept}, again)
    return f"schema {done['after']} and {len(kept)} roles by the deploy, and the same again"


async def wrong_environment(stage: Stage) -> str:
    await stage.relay.start(GROUNDSWELL_SOURCE="twitter", GROUNDSWELL_SORCE="jetstream")
    code = await stage.relay.ended(PATIENCE_S)
    said = stage.relay.said()
    expect(code == EX_CONFIG, f"exit code {code}:\n{said[-500:]}")
    expect("'twitter' is not one of" in said and "Did you mean GROUNDSWELL_SOURCE?" in said, said[-800:])
    return f"the task ends with {code} and names both variables"


async def relay_stores(stage: Stage) -> str:
    await stage.relay.start()

    async def stored() -> int:
        expect(stage.relay.running, f"the relay ended:\n{stage.relay.said()[-1500:]}")
        with stage.database() as conn:
            return _number(conn.execute("SELECT count(*) FROM posts").fetchone())

    count = await until("posts in the database", stored)
    return f"{count} posts over TLS, with the role's password"


# ------------------------------------------------------------------ using
async def page(stage: Stage) -> str:
    async with browser(stage) as session:
        status, _, text = await get(session, f"https://{stage.site}/")
        expect(status == 200 and "<title>" in text, f"{status} {text[:200]}")
        assets = re.findall(r'(?:src|href)="(?:\./|/)?(assets/[^"]+)"', text)
        expect(assets, f"the page names no assets: {text[:300]}")
        for asset in assets:
            expect((await get(session, f"https://{stage.site}/{asset}"))[0] == 200, asset)
        config = (await get(session, f"https://{stage.site}/config.json"))[2]
        expect(config["apiUrl"] == "" and re.fullmatch(r"wss://\w+\.execute-api\..*/live", config["wsUrl"]), config)
        expect(stage.gateway.websocket_api.clients == {}, "nobody is connected yet")
    return f"{len(assets)} assets; config.json names {config['wsUrl']}"


async def requests(stage: Stage) -> str:
    api = f"https://{stage.site}"
    async with browser(stage) as session:

        async def listing() -> Any:
            status, _, body = await get(session, f"{api}/v1/posts?limit=5")
            expect(status == 200, f"{status} {body}")
            return body["data"]

        posts = await until("posts in a listing", listing)
        seen = 1
        ready = await get(session, f"{api}/readyz")
        expect(ready[0] == 200, ready[2])
        for path, status in (
            (f"/v1/posts/{posts[0]['id']}", 200),
            ("/v1/momentum?limit=5", 200),
            (f"/v1/search?q={posts[0]['text'].split()[0].strip('#$@.,!?') or 'a'}", 200),
            ("/v1/status", 200),
            ("/openapi.json", 200),
            ("/v1/posts?limt=5", 400),
            ("/v1/nothing", 404),
        ):
            answer = await get(session, f"{api}{path}")
            expect(answer[0] == status, f"{path}: {answer[0]} {str(answer[2])[:300]}")
            seen += 1
        async with session.post(f"{api}/v1/alerts/rules", json={}) as refused:
            expect(refused.status == 401, f"a write without a key: {refused.status}")
        etag = (await get(session, f"{api}/v1/momentum?limit=5"))[1].get("ETag")
        expect(etag, "no ETag")
        direct = await get(session, f"https://{stage.http_api}/healthz")
        expect(direct[0] == 200, direct)
    return f"{seen} reads through the distribution, one write refused"


async def meaning(stage: Stage) -> str:
    async with browser(stage) as session:

        async def indexed() -> Any:
            status, _, body = await get(session, f"https://{stage.site}/v1/search?q=markets+and+prices&limit=5")
            expect(status == 200, f"{status} {str(body)[:300]}")
            return body if not body["degraded"] and body["data"] else None

        found = await until("search by meaning", indexed, 60.0)
    forwarded = stage.function("vectors").pid is not None
    expect(forwarded, "the API asked the vector index without the function that forwards")
    return f"{len(found['data'])} posts through the function that forwards, nothing degraded"


async def addresses(stage: Stage) -> str:
    """The address that is counted is API Gateway's word, and not a header that a client can write."""
    url = f"https://{stage.http_api}/v1/gaps"
    async with browser(stage) as session:

        async def left_of(number: int) -> int:
            status, headers, _ = await get(session, url, **{"X-Forwarded-For": f"198.51.100.{number}"})
            expect(status == 200, status)
            return int(re.search(r"r=(\d+)", headers["RateLimit"])[1])  # pyright: ignore[reportOptionalSubscript]

        left = await asyncio.gather(*(left_of(number) for number in range(1, FORGED + 1)))
    # What is left grows again as time passes, but for addresses of their own it would be the same for each.
    expect(len(set(left)) > 1, f"each forged address counts for itself: {left}")
    return f"{FORGED} forged addresses are one client: down to {min(left)} left"


async def live(stage: Stage) -> str:
    async with browser(stage) as session:
        config = (await get(session, f"https://{stage.site}/config.json"))[2]
        kinds: list[str] = []
        async with session.ws_connect(config["wsUrl"]) as client:

            async def read(kind: str) -> dict[str, Any]:
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        frame = json.loads(await client.receive_str())
                        kinds.append(frame["type"])
                        if frame["type"] == kind:
                            return frame

            await client.send_json({"action": "subscribe", "topics": ["posts", "momentum"]})
            await read("hello")
            await client.send_json({"action": "dance"})
            error = await read("error")
            expect(error["data"]["code"] == "unknown-action", error)
            posts = await read("posts.new")
            await read("momentum.update")
            expect(posts["data"], posts)
            (connection,) = stage.gateway.websocket_api.clients
        with stage.database() as conn:

            async def forgotten() -> bool:
                row = conn.execute("SELECT count(*) FROM ws_connections WHERE connection_id = %s", (connection,))
                return row.fetchone() == (0,)

            await until("the registry forgets who left", forgotten)
        try:
            async with session.ws_connect(f"{config['wsUrl']}?token=gs_wrong"):
                raise Failed("a wrong token was let in")
        except aiohttp.WSServerHandshakeError as refused:
            expect(refused.status == 401, refused)
    expect(stage.gateway.websocket_api.refused_posts == [], stage.gateway.websocket_api.refused_posts)
    return f"{len(kinds)} frames ({', '.join(sorted(set(kinds)))}); a wrong token gets 401"


# ------------------------------------------------------------------ the clock
async def fire(stage: Stage, name: str) -> Any:
    """Call a function as its schedule does."""
    arn = stage.deployed[name].arn
    (schedule,) = (each for each in deployed.schedules() if each.target == arn)
    expect(_RATE.fullmatch(schedule.expression) or schedule.expression.startswith("cron("), schedule.expression)
    expect(await asyncio.to_thread(stage.account.may_invoke, schedule), f"{schedule.role} may not call {arn}")
    return await stage.functions[arn].invoke(json.loads(schedule.input))


async def mover(stage: Stage) -> str:
    def age() -> list[tuple[str]]:
        with stage.database() as conn:
            return conn.execute(
                "UPDATE posts SET ingested_at = now() - interval '10 days', event_time = now() - interval '10 days'"
                " WHERE pk IN (SELECT pk FROM posts ORDER BY pk LIMIT %s) RETURNING id",
                (OLD_POSTS,),
            ).fetchall()

    def deleted(ids: list[str]) -> set[str]:
        with stage.database() as conn:
            return {row[0] for row in conn.execute("SELECT id FROM tombstones WHERE id = ANY(%s)", (ids,))}

    # In a thread: the relay may hold a lock on these rows, and its connection passes through this event loop.
    aged = [post_id for (post_id,) in await asyncio.to_thread(age)]
    moved = await fire(stage, "mover")
    # The source goes on: it may delete one of them before or while it is moved.
    gone = await asyncio.to_thread(deleted, aged)
    old = [post_id for post_id in aged if post_id not in gone]
    expect(len(old) <= moved["posts"] <= len(aged) and moved["ended"] == "done", (moved, len(aged), len(gone)))
    bucket = stage.deployed["mover"].variables["GROUNDSWELL_ARCHIVE"].removeprefix("s3://")
    listed = stage.account.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    expect(len(listed) == 2 * moved["files"], [each["Key"] for each in listed])
    async with browser(stage) as session:
        status, _, post = await get(session, f"https://{stage.site}/v1/posts/{old[0]}")
        expect(status == 200 and old[0] in json.dumps(post), f"an archived post: {status} {str(post)[:300]}")
    expect((await fire(stage, "mover"))["posts"] == 0, "the same posts again")
    return f"{moved['posts']} posts in {moved['files']} files; one read back through the API"


async def cleanup(stage: Stage) -> str:
    def age() -> None:
        with stage.database() as conn:
            conn.execute(
                "UPDATE events SET ts = ts - interval '30 days' WHERE seq <= (SELECT min(seq) + 4 FROM events)"
            )
            conn.execute(
                "INSERT INTO ws_connections (connection_id, connected_at) VALUES ('left', now() - interval '3 hours')"
            )

    await asyncio.to_thread(age)
    swept = await fire(stage, "cleanup")
    expect(swept.get("events", 0) >= 5 and swept.get("connections") == 1, swept)
    return ", ".join(f"{name} {count}" for name, count in swept.items() if count)


async def operate(stage: Stage, *words: str) -> tuple[int, str, str]:
    """`groundswell aws run -- …` as an operator types it: exit code, standard output, standard error."""
    async with InvokeEndpoint(stage.functions) as lambda_api:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "groundswell", "aws", "run", "--", *words,
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                **stage.account.environment,
                "AWS_ENDPOINT_URL_LAMBDA": lambda_api.url,
            },
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


async def operator(stage: Stage) -> str:
    """Every command that docs/deploy.md gives an operator, and a key that is in no log."""

    async def done(*words: str, seen: str) -> str:
        code, out, err = await operate(stage, *words)
        expect(code == 0 and seen in out, f"{' '.join(words)}: exit code {code}\n{out}\n{err}")
        return out

    key = (await done("keys", "create", "ops", seen=KEY_PREFIX)).strip()
    await done("keys", "list", seen="ops")
    await done("migrate", seen="up to date")
    await done("doctor", seen="Nothing is broken")
    await done("archive", "list", seen="jetstream")
    verified = await done("archive", "verify", seen="are what was written")
    await done("archive", "query", "SELECT count(*) AS n FROM posts", "--format", "csv", seen="n\n")
    await done("index", "status", seen="posts stored")
    refused = await operate(stage, "env", "list")
    expect(refused[0] == EX_USAGE and "cannot run in a deployment" in refused[2], refused)
    async with browser(stage) as session:
        headers = {"Authorization": f"Bearer {key}"}
        async with session.post(f"https://{stage.site}/v1/alerts/rules", json={}, headers=headers) as answer:
            expect(answer.status == 201, f"a rule with the key: {answer.status}")
    logs = [line for each in stage.functions.values() for line in each.log]
    expect(logs and not any(key in line for line in logs) and key not in stage.relay.said(), "the key is in a log")
    await done("keys", "revoke", "ops", seen="")
    return f"a key that no log has; doctor and index are well; {verified.strip()}"


async def weekly_report(stage: Stage) -> str:
    done = await fire(stage, "costs")
    expect(done["characters"] > 500, done)
    return f"{done['characters']} characters mailed"


# ------------------------------------------------------------------ what goes wrong
async def database_away(stage: Stage) -> str:
    async with browser(stage) as session:
        url = f"https://{stage.site}/v1/posts?limit=1"
        await stage.door.close()
        try:

            async def refused() -> Any:
                status, headers, _ = await get(session, url)
                return headers if status == 503 else None

            headers = await until("503", refused)
            expect(int(headers["Retry-After"]) > 0, dict(headers))
            alive = (await get(session, f"https://{stage.site}/healthz"))[0]
            expect(alive == 200, f"/healthz: {alive}")
        finally:
            await stage.door.open(stage.database_tls)

        async def answered() -> bool:
            return (await get(session, url))[0] == 200

        await until("an answer again", answered)
    return f"503 with Retry-After {headers['Retry-After']}, and an answer as soon as it is back"


async def foreign_certificate(stage: Stage) -> str:
    """Whoever answers in the database's place, with a certificate that another authority signed, is told nothing."""
    async with browser(stage) as session:
        url = f"https://{stage.site}/v1/posts?limit=1"
        await stage.door.close()
        await stage.door.open(Authority(stage.folder / "foreign-authority", "Foreign").server([], [HOST]))
        try:

            async def refused() -> Any:
                status, _, body = await get(session, url)
                return body["detail"] if status == 503 else None

            said = await until("503", refused)
            expect("GROUNDSWELL_DATABASE_CA" in said, said)
        finally:
            await stage.door.close()
            await stage.door.open(stage.database_tls)

        async def answered() -> bool:
            return (await get(session, url))[0] == 200

        await until("an answer again", answered)
    return "503, and its detail names GROUNDSWELL_DATABASE_CA"


async def rotation(stage: Stage) -> str:
    """All passwords change, and every connection with an old one is cut: what runs goes on without a restart."""
    secrets = stage.account.client("secretsmanager")
    secret = json.loads(secrets.get_secret_value(SecretId=stage.database_secret)["SecretString"])
    secret["password"] = f"rotated{secret['password']}"
    secrets.put_secret_value(SecretId=stage.database_secret, SecretString=json.dumps(secret))
    await asyncio.to_thread(make_user, stage, secret)
    with stage.database() as conn:
        users: set[Any] = set()

        async def relay_is_connected() -> bool:
            rows = conn.execute("SELECT DISTINCT usename FROM pg_stat_activity WHERE usename <> user").fetchall()
            users.update(row[0] for row in rows)
            return "groundswell_relay" in users

        # The act before took the database away from it.
        await until("the relay is connected", relay_is_connected)
        expect(secret["username"] not in users, f"connected as {users}")
        renewed = await stage.function("migrate").invoke({"renew_passwords": True})
        expect(set(renewed["logins"].values()) == {"renewed"}, renewed)
        cut = conn.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = ANY(%s)", (list(users),)
        )
        connections = _number(cut.fetchone())
        before = _number(conn.execute("SELECT coalesce(max(pk), 0) FROM posts").fetchone())

        async def stored() -> bool:
            expect(stage.relay.running, f"the relay ended:\n{stage.relay.said()[-1500:]}")
            return _number(conn.execute("SELECT coalesce(max(pk), 0) FROM posts").fetchone()) > before

        await until("the relay stores again", stored, 90.0)
    async with browser(stage) as session:

        async def answered() -> bool:
            return (await get(session, f"https://{stage.site}/v1/posts?limit=1"))[0] == 200

        await until("the API answers again", answered)
    swept = await fire(stage, "cleanup")
    expect(isinstance(swept, dict), swept)
    return f"{connections} connections cut; relay, API and cleanup go on as their roles with new passwords"


async def function_environment(stage: Stage) -> str:
    """A function that is given a wrong variable answers 500, and its log says why."""
    function = stage.function("api.sockets")
    kept = dict(function.environment)
    await function.replace_environment({**kept, "GROUNDSWELL_WS_ENDPOINT": "here"})
    try:
        answer = await function.invoke({"requestContext": {"routeKey": "$connect", "connectionId": "c"}})
        expect(answer["statusCode"] == 500, answer)
        expect(any("GROUNDSWELL_WS_ENDPOINT" in line for line in function.log), function.tail())
    except FunctionFailed as failed:
        raise Failed(str(failed)) from failed
    finally:
        await function.replace_environment(kept)
    return "500, and the log names the variable"


async def roles(stage: Stage) -> str:
    """Every call to AWS so far was judged by the policies of the role that signed it."""
    del stage
    callers = local_aws.callers
    expect(callers.refused == [], "\n".join(callers.refused))
    who = {"relay", "api", "api.sockets", "migrate", "mover", "cleanup"}
    expect(who <= callers.made.keys(), f"who called AWS: {sorted(callers.made)}")
    expect("execute-api:ManageConnections" in callers.made["relay"], callers.made["relay"])
    return (
        f"{len({each for made in callers.made.values() for each in made})} kinds of calls by {len(callers.made)} roles"
    )


async def drain(stage: Stage) -> str:
    code = await stage.relay.stop(STOP_GRACE_S)
    expect(code == 0, f"exit code {code}:\n{stage.relay.said()[-1500:]}")
    with stage.database() as conn:
        cause = conn.execute("SELECT cause FROM gaps WHERE closed_at IS NULL").fetchall()
    expect(cause == [("shutdown",)], cause)
    expect('"posts_stored_total":' in stage.relay.said(), "no metrics in its log")
    return "exit code 0; the time away is a gap"


OPTIONAL = frozenset({
    "IPython", "aiodns", "awscrt", "backports", "brotli", "brotlicffi", "certifi", "charset_normalizer",
    "click", "cryptography", "email_validator", "fastembed", "fsspec", "greenlet", "h2", "hpack", "httptools",
    "huggingface_hub", "hyperframe",
    "itsdangerous", "jinja2", "multipart", "onnxruntime", "orjson", "pandas", "polars", "pyarrow", "pygments",
    "python_multipart", "pytz", "rich", "simplejson", "socksio", "tensorflow", "threadpoolctl", "torch",
    "ujson", "watchfiles", "yaml", "zstandard",
})  # fmt: skip
"""Asked for by what does without: libraries, and the models that need a graphics processor."""


async def packed(stage: Stage) -> str:
    """What the functions asked for here is in their zips, or in Lambda's own Python."""
    from importlib.metadata import packages_distributions

    from cdk.assets import packages_of
    from deployment.knobs import load

    owners, missing = packages_distributions(), list[str]()
    for name, function in stage.deployed.items():
        zip_name = function.handler.split(".")[1]
        here = packages_of(zip_name, load({})) | BESIDE_THE_RUNTIME
        for module in sorted(stage.imports_of(name) - OPTIONAL):
            names = {re.sub(r"[-_.]+", "-", each).lower() for each in owners.get(module, ())} - {"groundswell"}
            in_zip = module in function.packed or stage.code_alone
            if names and not (names & here and (in_zip or names & BESIDE_THE_RUNTIME or module in IN_THE_RUNTIME)):
                missing.append(f"{name}: {module}")
    expect(not missing, f"not in the zips: {', '.join(missing)}")
    if stage.code_alone:
        return "all that was imported belongs to a package of the zip"
    return ", ".join(f"{name} {each.zip_bytes / 1e6:.1f} MB" for name, each in sorted(stage.deployed.items()))


def _number(row: Any) -> int:
    assert row is not None, "an aggregate has a row"
    return int(row[0])


SHORT: Sequence[tuple[str, Act]] = (
    ("the migration runs, and again", migration),
    ("a wrong environment is caught at start", wrong_environment),
    ("the relay stores the source", relay_stores),
    ("the page loads from its bucket", page),
    ("requests are answered", requests),
    ("clients cannot choose their address", addresses),
    ("a WebSocket client receives frames", live),
    ("the mover is fired by its schedule", mover),
    ("the cleanup is fired by its schedule", cleanup),
    ("an operator's commands run beside the database", operator),
    ("a database with a foreign certificate is refused", foreign_certificate),
    ("rotated passwords are picked up", rotation),
    ("the roles allow what was called", roles),
    ("the relay drains when it is stopped", drain),
    ("the zips have what was imported", packed),
)
FULL: Sequence[tuple[str, Act]] = (
    *SHORT[:6],
    ("search finds by meaning", meaning),
    *SHORT[6:9],
    ("the weekly report is mailed", weekly_report),
    ("the database goes away and comes back", database_away),
    ("a function with a wrong environment says so", function_environment),
    *SHORT[9:],
)

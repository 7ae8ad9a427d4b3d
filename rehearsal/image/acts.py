"""What an image has to show: it refuses a wrong environment, migrates, relays, answers searches, and drains."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import struct
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.postgres_access import SOCKET_PORT
from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant
from groundswell.errors import EX_CONFIG
from rehearsal.image.running import Image, Running
from rehearsal.network import HOST, Certificates, DatabaseDoor
from rehearsal.stage import RATE, free_ports

FAILED = (AssertionError, TimeoutError, OSError, psycopg.Error, urllib.error.URLError)
ACT_LIMIT_S = 240.0
ARM64 = 183
"""The machine's number in the header of an ELF file."""
ELF, ELF_HEADER_BYTES = b"\x7fELF", 20
LEAST_LIBRARIES = 50
"""An image with fewer has lost its packages."""
INDEXED = "SELECT count(*) FROM posts p WHERE NOT EXISTS (SELECT 1 FROM outbox o WHERE o.post_pk = p.pk)"
"""Posts that are stored, and whose vectors the engine has taken."""
Tell = Callable[[str], None]


async def rehearse(root: Path, settings: Mapping[str, Any], folder: Path, tell: Tell) -> None:
    """Run everything. Raises one of `FAILED` with what did not hold."""
    image = Image(root, settings, folder / "disks")
    log = folder / "said.log"
    await _refuses_a_wrong_environment(image, log)
    tell(f"✓ exits with {EX_CONFIG} and names every problem")
    await _has_one_user_and_two_volumes(image, log)
    tell("✓ runs as its user, and can write to its volumes alone")
    async with _parts(folder) as (url, superuser_url, variables, port):
        shutil.copy(folder / "authority.pem", image.volumes["/tmp"] / "authority.pem")  # noqa: S108
        variables |= {"GROUNDSWELL_DATABASE_URL": url}
        code, said = await image.run("groundswell", "migrate", log=log, **variables)
        assert code == 0, said
        tell("✓ migrates, over verified TLS")
        with psycopg.connect(superuser_url, autocommit=True) as database:
            tell(await _relays(image, database, log, variables))
            tell(await _serves_all_in_one(image, database, folder / "up.log", variables, port))


async def _refuses_a_wrong_environment(image: Image, log: Path) -> None:
    code, said = await image.run(log=log)
    assert code == EX_CONFIG, f"exit code {code} on an empty environment: {said}"
    assert "GROUNDSWELL_DATABASE_URL" in said, said
    wrong = {"GROUNDSWELL_SOURCE": "carrier-pigeon", "GROUNDSWELL_LOG_LEVEL": "chatty", "GROUNDSWELL_QDRANT_URL": "?"}
    code, said = await image.run(log=log, **wrong)
    assert code == EX_CONFIG, f"exit code {code} on a wrong environment: {said}"
    absent = [name for name in ("GROUNDSWELL_DATABASE_URL", *wrong) if name not in said]
    assert not absent, f"{absent} not named: {said}"


async def _has_one_user_and_two_volumes(image: Image, log: Path) -> None:
    code, said = await image.run(
        "sh", "-c", "id -u; touch /tmp/t /var/lib/groundswell/t && rm /tmp/t /var/lib/groundswell/t && echo volumes;"
        " touch /opt/groundswell/t /etc/t || echo refused", log=log,
    )  # fmt: skip
    assert code == 0 and said.splitlines()[:2] == ["10001", "volumes"] and said.splitlines()[-1] == "refused", said
    assert await _check(image, log) == 1, "healthy without a process"
    folder = (image.root / "var/lib/groundswell").stat()
    assert (folder.st_uid, folder.st_gid) == (10001, 10001), "a volume belongs to whom the image's folder belongs to"


async def _relays(image: Image, database: psycopg.Connection[Any], log: Path, variables: Mapping[str, str]) -> str:
    own = log.with_name("relay.log")
    relay = await image.start(log=own, **variables)
    try:
        await _until(lambda: asyncio.to_thread(_count, database, INDEXED), relay)
        assert await _check(image, log) == 0, f"not healthy: {relay.said()[-2000:]}"
        code = await relay.stop()
        assert code == 0, f"exit code {code} after SIGTERM: {relay.said()[-2000:]}"
    finally:
        await relay.kill()
    causes = database.execute("SELECT cause FROM gaps WHERE closed_at IS NULL").fetchall()
    assert causes == [("shutdown",)], f"drained with the gaps {causes}"
    (stored,) = database.execute("SELECT count(*) FROM posts").fetchone() or (0,)
    return f"✓ relays: {stored} posts stored and their vectors, healthy, drains on SIGTERM"


async def _serves_all_in_one(
    image: Image, database: psycopg.Connection[Any], log: Path, variables: Mapping[str, str], port: int
) -> str:
    running = await image.start("groundswell", "up", log=log, **variables, GROUNDSWELL_API_PORT=str(port))
    try:
        (text,) = database.execute("SELECT text FROM posts ORDER BY id LIMIT 1").fetchone() or ("",)
        asked = urllib.parse.quote(" ".join(str(text).split()[:4]))
        answer: dict[str, Any] = {}

        async def found() -> bool:
            nonlocal answer
            answer = await asyncio.to_thread(_json, f"http://{HOST}:{port}/v1/search?q={asked}") or {}
            return bool(answer.get("data")) and not answer["degraded"]

        await _until(found, running)
        assert await _check(image, log.with_name("said.log"), str(port)) == 0, "the API is not healthy"
        code = await running.stop()
        assert code == 0, f"exit code {code} after SIGTERM: {running.said()[-2000:]}"
    finally:
        await running.kill()
    return f"✓ `groundswell up` finds {len(answer['data'])} of them by words and by meaning, and drains"


async def _check(image: Image, log: Path, *arguments: str) -> int:
    """Run the image's own health check."""
    command = image.settings["Healthcheck"]["Test"]
    assert command[0] == "CMD", command
    code, _ = await image.run(*command[1:], *arguments, log=log)
    return code


def check_foreign(root: Path) -> int:
    """Return how many ELF files of arm64 an image has. Raises AssertionError for one of another architecture.

    Every file is looked at, whatever its name: libraries, programs, and what a package keeps as data.
    """
    found = 0
    for path in (root / "opt/groundswell").rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            header = file.read(ELF_HEADER_BYTES)
        if header.startswith(ELF):
            (machine,) = struct.unpack_from("<H", header, 18)
            assert machine == ARM64, f"{path.relative_to(root)} is for machine {machine}"
            found += 1
    assert found > LEAST_LIBRARIES, f"only {found} of them"
    return found


# ------------------------------------------------------------------ parts around it
@asynccontextmanager
async def _parts(folder: Path) -> AsyncGenerator[tuple[str, str, dict[str, str], int]]:
    """Postgres behind TLS, the vector engine and a source: the relay's URL, ours, its variables, and a free port."""
    async with AsyncExitStack() as stack:
        door_port, vectors, api = free_ports(3)
        postgres = EmbeddedPostgres(folder / "rds", tuning={"fsync": "off"})
        superuser_url = await postgres.start()
        stack.push_async_callback(postgres.stop)
        password = secrets.token_hex(8)
        rules = folder / "rds" / "postgres" / "pg_hba.conf"
        rules.write_text(f"local all relay scram-sha-256\n{rules.read_text('utf-8')}", "utf-8")
        with psycopg.connect(superuser_url, autocommit=True) as database:
            database.execute(f"CREATE ROLE relay LOGIN PASSWORD '{password}'")
            database.execute("ALTER SCHEMA public OWNER TO relay")
            (name,) = database.execute("SELECT current_database()").fetchone() or ("",)
            database.execute(f'ALTER DATABASE "{name}" OWNER TO relay')
            database.execute("SELECT pg_reload_conf()")
        certificates = Certificates(folder, ["database.internal"])
        socket_folder = parse_qs(urlsplit(superuser_url).query)["host"][0]
        door = DatabaseDoor(Path(socket_folder) / f".s.PGSQL.{SOCKET_PORT}", door_port)
        await door.open(certificates.for_server())
        stack.push_async_callback(door.close)
        engine = EmbeddedQdrant(folder / "qdrant", port=vectors)
        await engine.start()
        stack.push_async_callback(engine.stop)
        source = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "groundswell.adapters.simulator", "--port", "0", "--rate", str(RATE),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        stack.push_async_callback(source.wait)
        stack.callback(source.terminate)
        assert source.stdout is not None
        address = (await asyncio.wait_for(source.stdout.readline(), ACT_LIMIT_S)).decode().strip()
        url = f"postgresql://relay:{password}@{HOST}:{door_port}/{name}"
        variables = {
            "GROUNDSWELL_SOURCE": "jetstream",
            "GROUNDSWELL_JETSTREAM_HOSTS": address,
            "GROUNDSWELL_QDRANT_URL": f"http://{HOST}:{vectors}",
            "GROUNDSWELL_QDRANT_API_KEY": engine.api_key,
        }
        yield f"{url}?sslmode=verify-full&sslrootcert=/tmp/authority.pem", superuser_url, variables, api


async def _until(holds: Callable[[], Awaitable[object]], running: Running) -> None:
    """Ask until it holds. Raises AssertionError when the process ends, or after `ACT_LIMIT_S`."""
    try:
        async with asyncio.timeout(ACT_LIMIT_S):
            while not await holds():
                assert running.is_running, f"it ended: {running.said()[-2000:]}"
                await asyncio.sleep(0.25)
    except TimeoutError:
        raise AssertionError(f"nothing came: {running.said()[-2000:]}") from None


def _count(database: psycopg.Connection[Any], query: str) -> int:
    row = database.execute(query).fetchone()  # pyright: ignore[reportArgumentType]
    return int(row[0]) if row else 0


def _json(url: str) -> dict[str, Any] | None:
    """The JSON at an address; None where nobody answers yet."""
    with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310
        return json.load(answer)
    return None

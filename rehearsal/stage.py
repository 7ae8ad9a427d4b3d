"""Everything that a deployment needs around it on this machine, and the processes of what was deployed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from groundswell.adapters.embedded_postgres import SOCKET_PORT, EmbeddedPostgres
from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant
from rehearsal import deployed
from rehearsal.authority import Authority
from rehearsal.cloudfront import deployed_site
from rehearsal.deployed import DeployedFunction, DeployedTask, LocalAccount
from rehearsal.deploying import ROOT, STACKS, Deploy
from rehearsal.gateway import Gateway
from rehearsal.local_aws import environment as credentials
from rehearsal.local_aws import serve
from rehearsal.local_lambda import LocalFunction
from rehearsal.network import HOST, INSIDE, Certificates, DatabaseDoor, environment_inside

RATE = 40
"""Posts a second of the simulated source."""
START_LIMIT_S = 60.0


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


class Relay:
    """The deployed task as a process of its own."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], folder: Path) -> None:
        self._command = [sys.executable if word == "python" else word for word in command]
        self._variables = variables
        self._folder = folder
        self.log = folder / "relay.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, **changed: str) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env={**self._variables, **changed}, cwd=self._folder, stdout=log, stderr=log
            )

    async def ended(self, limit_s: float) -> int:
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), limit_s)

    async def stop(self, limit_s: float) -> int:
        """SIGTERM, as ECS sends it. Its exit code; -9 where it had to be killed."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await self.ended(limit_s)
            except TimeoutError:
                self._process.kill()
        return await self._process.wait()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""


class Stage:
    """What `open_stage` hands out."""

    def __init__(self, folder: Path, account: LocalAccount, *, code_alone: bool) -> None:
        self.folder = folder
        self.code_alone = code_alone
        """Whether the zips are without packages."""
        self.account = account
        self.superuser_url = ""
        self.door: DatabaseDoor
        self.database_tls: ssl.SSLContext
        self.certificates: Certificates
        self.gateway: Gateway
        self.gateway_port = 0
        self.functions: dict[str, LocalFunction] = {}
        """By ARN."""
        self.deployed: dict[str, DeployedFunction] = {}
        """By name: `api`, `api.sockets`, `mover`, …"""
        self.relay: Relay
        self.database_secret = ""
        self.http_api = ""
        self.site = ""

    def function(self, name: str) -> LocalFunction:
        return self.functions[self.deployed[name].arn]

    def database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.superuser_url, autocommit=True)

    def imports_of(self, name: str) -> set[str]:
        """Top-level modules that a function's processes have asked for."""
        noted = self.folder / f"{name}.imports"
        return set(noted.read_text("utf-8").split()) if noted.exists() else set()


@asynccontextmanager
async def open_stage(folder: Path, *, packages: bool, tell: Any) -> AsyncGenerator[Stage]:
    """Deploy into a local AWS, and start what was deployed.

    Args:
        packages: whether the zips get the packages that they import as well.
        tell: called with a line before each step.
    """
    async with AsyncExitStack() as stack:
        aws, database, vectors, gateway = free_ports(4)
        tell("Starting the local AWS, Postgres, the vector engine and the source")
        server = serve(aws, (HOST, database))
        stack.callback(server.stop)
        stage = Stage(folder, LocalAccount(aws), code_alone=not packages)
        postgres = EmbeddedPostgres(folder / "rds", tuning={"fsync": "off"})
        stage.superuser_url = await postgres.start()
        stack.push_async_callback(postgres.stop)
        authority = Authority(folder / "rds-authority", "Groundswell rehearsal RDS")
        stage.database_tls = authority.server([], [HOST])
        engine = EmbeddedQdrant(folder / "qdrant", port=vectors)
        await engine.start()
        stack.push_async_callback(engine.stop)
        source = await stack.enter_async_context(_source(folder))

        context: dict[str, object] = {
            "alert_email": "ops@example.com",
            # The image is what docker build makes of relay_container/Dockerfile; its command is taken from there.
            "relay_image": "example.com/groundswell-relay:rehearsal",
            "environment": {
                "GROUNDSWELL_JETSTREAM_HOSTS": source,
                "GROUNDSWELL_QDRANT_URL": f"http://{HOST}:{vectors}",
            },
            "groundswell:code-alone": "" if packages else "yes",
        }
        deploy = Deploy(aws, folder / "cdk", context)
        tell("cdk bootstrap")
        await deploy.bootstrap()
        tell("cdk deploy --all")
        await deploy.deploy()

        tell("Starting what was deployed")
        site, by_kind = deployed_site(), {bool(api.selection): api for api in deployed.apis()}
        stage.site, stage.http_api = site.host, by_kind[False].host
        names = [site.host, by_kind[False].host, by_kind[True].host]
        stage.certificates = Certificates(folder, names)
        stage.gateway_port = gateway
        inside = environment_inside(stage.certificates.authority, dict.fromkeys(names, gateway))
        # RDS's own authorities sign for no database of this machine.
        inside["GROUNDSWELL_DATABASE_CA"] = str(authority.file)
        for function in stage.account.functions(STACKS, folder / "code"):
            stage.deployed[function.name] = function
            process = _function(function, folder, {**inside, "AWS_ENDPOINT_URL": f"http://{HOST}:{aws}"})
            stage.functions[function.arn] = await stack.enter_async_context(process)
        stage.gateway = Gateway(
            http=by_kind[False],
            sockets=by_kind[True],
            site=site,
            functions=stage.functions,
            buckets=stage.account.client("s3"),
            port=gateway,
        )
        await stage.gateway.open(stage.certificates.for_server())
        stack.push_async_callback(stage.gateway.close)

        variables = stage.deployed["api"].variables
        stage.database_secret = variables["GROUNDSWELL_DATABASE_URL"]
        await asyncio.to_thread(make_user, stage, folder / "rds" / "postgres")
        query = parse_qs(urlsplit(stage.superuser_url).query)
        stage.door = DatabaseDoor(Path(query["host"][0]) / f".s.PGSQL.{SOCKET_PORT}", database)
        await stage.door.open(stage.database_tls)
        stack.push_async_callback(stage.door.close)
        stage.relay = _relay(stage.account.relay_task(), folder, {**inside, **credentials(aws)}, f"http://{HOST}:{aws}")
        stack.push_async_callback(_stop_relay, stage.relay)
        yield stage


async def _stop_relay(relay: Relay) -> None:
    if relay.running:
        await relay.stop(30)


@asynccontextmanager
async def _source(folder: Path) -> AsyncGenerator[str]:
    """The simulator. Yields its address."""
    with (folder / "source.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "groundswell.adapters.simulator", "--port", "0", "--rate", str(RATE),
            stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S)).decode().strip()
        yield url
    finally:
        process.terminate()
        await process.wait()


def make_user(stage: Stage, cluster: Path | None = None) -> None:
    """What RDS does: the user of the secret, with its password and a database of its own."""
    said = stage.account.client("secretsmanager").get_secret_value(SecretId=stage.database_secret)
    secret = json.loads(said["SecretString"])
    if cluster is not None:
        rules = cluster / "pg_hba.conf"
        rules.write_text(f"local all {secret['username']} scram-sha-256\n{rules.read_text('utf-8')}", "utf-8")
    with stage.database() as conn:
        conn.execute("SELECT pg_reload_conf()")
        exists = conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (secret["username"],)).fetchone()
        verb = "ALTER" if exists else "CREATE"
        user, password = secret["username"], secret["password"]
        conn.execute(f"{verb} ROLE \"{user}\" LOGIN PASSWORD '{password}'")
        conn.execute(f'ALTER DATABASE "{secret["dbname"]}" OWNER TO "{user}"')
        conn.execute(f'ALTER SCHEMA public OWNER TO "{user}"')


def _function(function: DeployedFunction, folder: Path, inside: Mapping[str, str]) -> LocalFunction:
    """A process of it: its own code from the zip, its packages from this environment, its /tmp a folder."""
    own_disk = folder / f"tmp-{function.name}"
    own_disk.mkdir()
    return LocalFunction(
        function.name,
        function.handler,
        {
            **_moved(function.variables, {"/tmp": own_disk}),  # noqa: S108
            **inside,
            "TMPDIR": str(own_disk),
            "PYTHONPATH": os.pathsep.join((str(INSIDE), str(function.code))),
            "REHEARSAL_IMPORTS": str(folder / f"{function.name}.imports"),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        },
        code=function.code,
        timeout_s=function.timeout_s,
    )


def _relay(task: DeployedTask, folder: Path, inside: Mapping[str, str], endpoint: str) -> Relay:
    """A process of it, where the image's own root is this checkout."""
    command, defaults = deployed.image_defaults(ROOT / "relay_container" / "Dockerfile")
    disks = {path: folder / f"disk{number}" for number, path in enumerate(task.writable)}
    for disk in disks.values():
        disk.mkdir()
    variables = {
        **_moved({**defaults, **task.variables}, disks),
        **inside,
        "AWS_ENDPOINT_URL": endpoint,
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join((str(INSIDE), str(ROOT))),
    }
    return Relay(task.command or command, variables, folder)


def _moved(variables: Mapping[str, str], disks: Mapping[str, Path]) -> dict[str, str]:
    """The variables with the places of disks that this machine has elsewhere."""
    found = dict(variables)
    for name, value in variables.items():
        for path, disk in disks.items():
            if value == path or value.startswith(f"{path}/"):
                found[name] = f"{disk}{value.removeprefix(path)}"
    return found

"""Everything that a deployment needs around it on this machine, and the processes of what was deployed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
from aiohttp import web

from cdk import pythons
from deployment.knobs import load
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.postgres_access import SOCKET_PORT, SUPERUSER
from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant
from rehearsal import deployed, local_aws, runtime
from rehearsal.authority import Authority
from rehearsal.aws_front import CREDENTIALS_PATH, Invoke
from rehearsal.cloudfront import deployed_site
from rehearsal.cpu_share import cores_of, cpu_share
from rehearsal.deployed import DeployedFunction, DeployedTask, LocalAccount
from rehearsal.deploying import ROOT, STACKS, Deploy
from rehearsal.gateway import Gateway
from rehearsal.iam import Call, Caller, signature_of
from rehearsal.local_aws import serve
from rehearsal.local_lambda import FunctionFailed, LocalFunction, PayloadTooLarge
from rehearsal.network import HOST, INSIDE, Certificates, DatabaseDoor, environment_inside

RATE = 40
"""Posts a second of the simulated source."""
START_LIMIT_S = 60.0
VECTOR_KEY_NAME = "/groundswell/qdrant-key"
"""Of the parameter that keeps the vector engine's key, as docs/deploy.md names it."""


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
        self.context: dict[str, object] = {}
        """What `cdk deploy` is given."""
        self.inside: dict[str, str] = {}
        """Variables that every process gets, so that names of AWS lead here."""
        self.functions: dict[str, LocalFunction] = {}
        """By ARN."""
        self.deployed: dict[str, DeployedFunction] = {}
        """By name: `api`, `api.sockets`, `mover`, …"""
        self.relay: Relay
        self.database_secret = ""
        self.http_api = ""
        self.site = ""
        self.triggered: list[str] = []
        """What the triggers of deploys answered."""
        self.notes: dict[str, None] = {}
        """What is not as on AWS on this machine, and what was measured."""

    def function(self, name: str) -> LocalFunction:
        return self.functions[self.deployed[name].arn]

    def database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.superuser_url, autocommit=True)

    def deploy(self, sources: Path = ROOT) -> Deploy:
        """The CDK command line over a checkout."""
        return Deploy(self.account.port, self.folder / f"cdk-{sources.name}", self.context, sources=sources)

    def imports_of(self, name: str) -> set[str]:
        """Top-level modules that a function's processes have asked for."""
        noted = self.folder / f"{name}.imports"
        return set(noted.read_text("utf-8").split()) if noted.exists() else set()

    async def start_functions(self) -> list[str]:
        """Start what is deployed now, in place of what runs. Returns the names of functions whose code is another."""
        changed: list[str] = []
        for function in self.account.functions(STACKS, self.folder / "code"):
            before = self.deployed.get(function.name)
            if before is not None and before.code == function.code and before.variables == function.variables:
                continue
            self.deployed[function.name] = function
            running = self.functions.pop(function.arn, None)
            if running is not None:
                await running.__aexit__()
            self.functions[function.arn] = await self.process_of(function).__aenter__()
            changed.append(function.name)
        return changed

    def process_of(self, function: DeployedFunction) -> LocalFunction:
        """A process of it: its own code from the zip, with the credentials of its role and its share of a processor."""
        caller = local_aws.callers.add(Caller(function.name, function.role, function.arn))
        own_disk = self.folder / f"tmp-{function.name}"
        own_disk.mkdir(exist_ok=True)
        python, packages = sys.executable, list[Path]()
        if not self.code_alone:
            zip_name, wanted = function.handler.split(".")[1], load({}).function_python
            found = pythons.find(wanted)
            if found is None:
                self.notes[f"Python {wanted} is not here: functions run on {runtime.VERSION}"] = None
            else:
                python = runtime.alone(found, self.folder / f"python{wanted}")
                packages = runtime.packages(zip_name, wanted)
        elif load({}).function_python != runtime.VERSION:
            self.notes[f"In short, functions run on Python {runtime.VERSION}; the full form has the deployed one"] = (
                None
            )
        share, reason = cpu_share(function.name, cores_of(function.memory_mb))
        if reason:
            self.notes[f"Processor time is not limited: {reason}"] = None
        return LocalFunction(
            function.name,
            function.handler,
            {
                **_moved(function.variables, {"/tmp": own_disk}),  # noqa: S108
                **self.inside,
                **caller.environment(),
                "TMPDIR": str(own_disk),
                "PYTHONPATH": os.pathsep.join(str(each) for each in (INSIDE, function.code, *packages)),
                "REHEARSAL_IMPORTS": str(self.folder / f"{function.name}.imports"),
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            },
            code=function.code,
            python=python,
            timeout_s=function.timeout_s,
            cpu=share,
        )

    async def close(self) -> None:
        for function in self.functions.values():
            await function.__aexit__()


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
        engine = EmbeddedQdrant(folder / "qdrant", port=vectors)
        await engine.start()
        stack.push_async_callback(engine.stop)
        stage.account.client("ssm").put_parameter(Name=VECTOR_KEY_NAME, Value=engine.api_key, Type="SecureString")
        source = await stack.enter_async_context(_source(folder))
        query = parse_qs(urlsplit(stage.superuser_url).query)
        stage.door = DatabaseDoor(Path(query["host"][0]) / f".s.PGSQL.{SOCKET_PORT}", database)
        authority = Authority(folder / "rds-authority", "Groundswell rehearsal RDS")
        stage.database_tls = authority.server([], [HOST])
        await stage.door.open(stage.database_tls)
        stack.push_async_callback(stage.door.close)

        # RDS's own authorities sign for no database of this machine.
        stage.inside = {"AWS_ENDPOINT_URL": f"http://{HOST}:{aws}", "GROUNDSWELL_DATABASE_CA": str(authority.file)}
        stage.context = {
            "alert_email": "ops@example.com",
            # The image is what docker build makes of relay_container/Dockerfile; its command is taken from there.
            "relay_image": "example.com/groundswell-relay:rehearsal",
            "environment": {
                "GROUNDSWELL_JETSTREAM_HOSTS": source,
                "GROUNDSWELL_QDRANT_URL": f"http://{HOST}:{vectors}",
            },
            "secrets": {"GROUNDSWELL_QDRANT_API_KEY": VECTOR_KEY_NAME},
            "groundswell:code-alone": "" if packages else "yes",
        }
        local_aws.hooks.database = lambda secret: make_user(stage, secret, folder / "rds" / "postgres")
        local_aws.hooks.trigger = _trigger(stage)
        local_aws.hooks.invoke = _invoke(stage)
        deploy = stage.deploy()
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
        stage.inside |= environment_inside(stage.certificates.authority, dict.fromkeys(names, gateway))
        stack.push_async_callback(stage.close)
        await stage.start_functions()
        stage.gateway = Gateway(
            http=by_kind[False],
            sockets=by_kind[True],
            site=site,
            functions=stage.functions,
            buckets=stage.account.client("s3"),
            port=gateway,
            authorize=_authorize,
        )
        await stage.gateway.open(stage.certificates.for_server())
        stack.push_async_callback(stage.gateway.close)
        stage.database_secret = stage.deployed["migrate"].variables["GROUNDSWELL_DATABASE_URL"]
        stage.relay = _relay(stage.account.relay_task(), folder, stage.inside)
        stack.push_async_callback(_stop_relay, stage.relay)
        yield stage


def _trigger(stage: Stage) -> Callable[[str], None]:
    """What calls a function in the middle of a deploy: the one that the deploy has just made or changed."""
    loop = asyncio.get_running_loop()

    async def call(arn: str) -> None:
        async with stage.process_of(stage.account.function(arn, stage.folder / "code")) as function:
            stage.triggered.append(json.dumps(await function.invoke({})))

    def run(arn: str) -> None:
        asyncio.run_coroutine_threadsafe(call(arn), loop).result()

    return run


def _invoke(stage: Stage) -> Invoke:
    """What calls a function for another one or for a task, in the forms of Lambda's own API."""
    loop = asyncio.get_running_loop()

    def invoke(arn: str, payload: bytes, asynchronous: bool) -> tuple[int, dict[str, str], bytes]:
        function = stage.functions.get(arn)
        if function is None:
            said = {"Type": "User", "Message": f"Function not found: {arn}"}
            return 404, {"x-amzn-ErrorType": "ResourceNotFoundException"}, json.dumps(said).encode()
        running = asyncio.run_coroutine_threadsafe(function.invoke(json.loads(payload or b"{}")), loop)
        if asynchronous:
            return 202, {}, b""
        try:
            return 200, {}, json.dumps(running.result()).encode()
        except PayloadTooLarge as error:
            said = {"Type": "User", "message": str(error)}
            return 413, {"x-amzn-ErrorType": "RequestTooLargeException"}, json.dumps(said).encode()
        except FunctionFailed as error:
            return 200, {"X-Amz-Function-Error": "Unhandled"}, json.dumps({"errorMessage": str(error)}).encode()

    return invoke


def _authorize(request: web.Request, body: bytes, action: str, resource: str) -> str | None:
    """Return why API Gateway does not carry out a signed request; None where it does."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    caller = local_aws.callers.of(headers, {})
    if caller is None or not local_aws.callers.has_token(caller, headers, {}):
        return "The security token included in the request is invalid."
    said = headers["authorization"]
    signed = re.search(r"SignedHeaders=([^,\s]+)", said)
    region = re.search(r"Credential=[^/]+/\d+/([^/]+)/execute-api/aws4_request", said)
    if signed is None or region is None:
        return "Credential should be scoped to correct service: 'execute-api'."
    expected = signature_of(
        caller,
        method=request.method,
        url=f"https://{headers['host']}{request.raw_path}",
        headers={name: headers[name] for name in signed[1].split(";")},
        body=body,
        service="execute-api",
        region=region[1],
    )
    if not said.endswith(f"Signature={expected}"):
        return "The request signature we calculated does not match the signature you provided."
    return local_aws.callers.refusal(caller, [Call(action, resource)])


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


def make_user(stage: Stage, secret: Mapping[str, Any], cluster: Path | None = None) -> None:
    """What RDS does: the secret's master user, who is no superuser, with its password and a database of its own."""
    user, password = str(secret["username"]), str(secret["password"])
    if cluster is not None:
        rules = cluster / "pg_hba.conf"
        mine = f"local all {SUPERUSER} peer map=groundswell\nlocal all all scram-sha-256\n"
        rules.write_text(mine + rules.read_text("utf-8"), "utf-8")
    with stage.database() as conn:
        conn.execute("SELECT pg_reload_conf()")
        exists = conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (user,)).fetchone()
        verb = "ALTER" if exists else "CREATE"
        conn.execute(f"{verb} ROLE \"{user}\" LOGIN CREATEDB CREATEROLE PASSWORD '{password}'")
        conn.execute(f'ALTER DATABASE "{secret["dbname"]}" OWNER TO "{user}"')
        conn.execute(f'ALTER SCHEMA public OWNER TO "{user}"')


def _relay(task: DeployedTask, folder: Path, inside: Mapping[str, str]) -> Relay:
    """A process of it, where the image's own root is this checkout. It asks for its credentials, as a task does."""
    caller = local_aws.callers.add(Caller("relay", task.role))
    command, defaults = deployed.image_defaults(ROOT / "relay_container" / "Dockerfile")
    disks = {path: folder / f"disk{number}" for number, path in enumerate(task.writable)}
    for disk in disks.values():
        disk.mkdir()
    variables = {
        **_moved({**defaults, **task.variables}, disks),
        **inside,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{inside['AWS_ENDPOINT_URL']}{CREDENTIALS_PATH}{caller.access_key}",
        "AWS_REGION": local_aws.REGION,
        "AWS_DEFAULT_REGION": local_aws.REGION,
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

"""One Lambda function on this machine: the real runtime client against a local Runtime API.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from rehearsal.cpu_share import CpuShare

RUNTIME = "/2018-06-01/runtime"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:"
REQUEST_LIMIT_BYTES = 6_291_456
RESPONSE_LIMIT_BYTES = 6_291_556
"""Lambda allows a result a hundred bytes more than an event.

https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""
INIT_LIMIT_S = 10.0
"""INIT may take this long. One that takes longer is begun anew in the time of the first event.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""
_RUNTIME_BODY_BYTES = 256 * 1024 * 1024


def trace_header() -> str:
    """A trace of X-Ray that takes in everything below it.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=1"


class FunctionFailed(Exception):
    """The handler raised, or the process could not start; the text is what the runtime was told."""


class PayloadTooLarge(FunctionFailed):
    """Lambda did not take the event; the function did not run."""


class ResponseTooLarge(FunctionFailed):
    """The handler returned more than Lambda hands on. The function itself logs success."""


class LocalFunction:
    """A function's process. Use as an async context manager; events are handled one at a time, as in a real one.

    Args:
        handler: for example `functions.api.handler.handler`.
        environment: what the function's configuration sets; nothing of this process's is passed on but the path.
        code: folder of the function's code, first on the path. Empty: this repository, with what is installed.
        timeout_s: what the function's configuration allows an event.
        cpu: limits the process after its INIT. Closed together with the function.
        init_limit_s: what INIT may take.
    """

    def __init__(
        self,
        name: str,
        handler: str,
        environment: Mapping[str, str],
        *,
        code: Path | None = None,
        python: str = sys.executable,
        timeout_s: float = 30.0,
        cpu: CpuShare | None = None,
        init_limit_s: float = INIT_LIMIT_S,
    ) -> None:
        self.name = name
        self._handler = handler
        self.environment = environment
        self._code = code
        self._python = python
        self._timeout_s = timeout_s
        self._cpu = cpu
        self._init_limit_s = init_limit_s
        self._events = self._queue()
        self._results: dict[str, asyncio.Future[bytes]] = {}
        self._numbers = itertools.count(1)
        self._turn = asyncio.Lock()
        self._polled = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.log: list[str] = []
        self.init_s = 0.0
        """INIT of the last process: from its start until it asked for its first event."""
        self.inits_too_long = 0
        """How often INIT had to be begun anew."""

    async def __aenter__(self) -> LocalFunction:
        app = web.Application(client_max_size=_RUNTIME_BODY_BYTES)
        app.router.add_get(f"{RUNTIME}/invocation/next", self._next)
        app.router.add_post(f"{RUNTIME}/invocation/{{id}}/response", self._response)
        app.router.add_post(f"{RUNTIME}/invocation/{{id}}/error", self._error)
        app.router.add_post(f"{RUNTIME}/init/error", self._init_error)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._address = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()
        await self._runner.cleanup()
        if self._cpu is not None:
            self._cpu.close()

    async def invoke(self, event: Mapping[str, Any]) -> Any:
        """The handler's result. The process is started at the first event, and again after it ended.

        Raises:
            PayloadTooLarge: the event is larger than Lambda takes.
            ResponseTooLarge: the result is.
            FunctionFailed: the handler raised, the process ended, or the event took longer than allowed.
        """
        payload = json.dumps(event).encode()
        if len(payload) > REQUEST_LIMIT_BYTES:
            raise PayloadTooLarge(
                f"Request must be smaller than {REQUEST_LIMIT_BYTES} bytes for the InvokeFunction operation"
            )
        async with self._turn:
            ends = await self._ready()
            request_id = f"00000000-0000-4000-8000-{next(self._numbers):012d}"
            result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._results[request_id] = result
            self._events.put_nowait((request_id, payload))
            assert self._process is not None
            ended = asyncio.ensure_future(self._process.wait())
            try:
                left_s = ends - time.monotonic()
                await asyncio.wait({result, ended}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if result.done():
                    try:
                        return json.loads(result.result() or b"null")
                    except ResponseTooLarge:
                        # The runtime client may end itself over the refusal: the next event meets a new process then.
                        await self._until_polled(self._timeout_s)
                        raise
                if not ended.done():
                    await self._stop()
                    raise FunctionFailed(f"{self.name} took longer than its {self._timeout_s:g} s:\n{self.tail()}")
                raise FunctionFailed(f"{self.name} ended with {ended.result()}:\n{self.tail()}")
            finally:
                ended.cancel()
                self._results.pop(request_id, None)

    async def _ready(self) -> float:
        """Make sure that there is a process that has done its INIT, and return when the event's time is over."""
        if self._process is not None and self._process.returncode is None:
            return time.monotonic() + self._timeout_s
        if self._cpu is not None:
            self._cpu.lift()
        if await self._start(self._init_limit_s):
            ends = time.monotonic() + self._timeout_s
        else:
            # Lambda begins INIT anew, in the time of the event and with its share of the processor.
            self.inits_too_long += 1
            self.log.append(
                f"INIT_REPORT Init Duration: {self._init_limit_s * 1000:.2f} ms Phase: init Status: timeout"
            )
            await self._stop()
            ends = time.monotonic() + self._timeout_s
            if self._cpu is not None:
                self._cpu.apply()
            if not await self._start(self._timeout_s):
                await self._stop()
                raise FunctionFailed(f"{self.name} took longer than its {self._timeout_s:g} s:\n{self.tail()}")
        if self._cpu is not None:
            self._cpu.apply()
        return ends

    async def replace_environment(self, environment: Mapping[str, str]) -> None:
        """As when a function's configuration changes: the next event meets a new process."""
        async with self._turn:
            await self._stop()
            self.environment = environment

    @property
    def pid(self) -> int | None:
        """Of the process that took the last event."""
        return None if self._process is None else self._process.pid

    def tail(self, lines: int = 30) -> str:
        """The end of what it logged."""
        return "\n".join(self.log[-lines:])

    async def _start(self, limit_s: float) -> bool:
        """Start a process, and return whether it asked for its first event within the limit."""
        started = time.monotonic()
        self._polled.clear()
        # A process that ended may have left a request for its next event behind, which must not get this one's.
        self._release()
        root = Path(__file__).parents[1]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/tmp",  # noqa: S108 -- the one folder that a function may write to
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": str(self._code or root),
            # A function cannot write beside its code, so that Python keeps nothing that it compiles.
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_RUNTIME_API": self._address,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python{}.{}".format(*sys.version_info),
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "LAMBDA_TASK_ROOT": str(self._code or root),
            "_HANDLER": self._handler,
            **self.environment,
        }
        self._process = await asyncio.create_subprocess_exec(
            self._python,
            "-m",
            "awslambdaric",
            self._handler,
            env=environment,
            cwd=self._code or root,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read_log(self._process))
        if self._cpu is not None:
            self._cpu.add(self._process.pid)
        polled = await self._until_polled(limit_s)
        if not polled and self._process.returncode is not None:
            raise FunctionFailed(f"{self.name} did not start:\n{self.tail()}")
        self.init_s = time.monotonic() - started
        return polled

    async def _until_polled(self, limit_s: float) -> bool:
        """Wait until the process asks for an event, ends, or the time is over. Return whether it asked."""
        assert self._process is not None
        polled = asyncio.ensure_future(self._polled.wait())
        ended = asyncio.ensure_future(self._process.wait())
        await asyncio.wait({polled, ended}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        polled.cancel()
        ended.cancel()
        return self._polled.is_set()

    @staticmethod
    def _queue() -> asyncio.Queue[tuple[str, bytes] | None]:
        return asyncio.Queue(1000)

    def _release(self) -> None:
        """Let a request for the next event go whose process is no more."""
        self._events.put_nowait(None)
        self._events = self._queue()

    async def _stop(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        self._release()
        if self._reading is not None:
            await self._reading

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.log.append(line.decode(errors="replace").rstrip())
            del self.log[:-2000]

    # -------------------------------------------------------------- the Runtime API
    async def _next(self, _: web.Request) -> web.Response:
        events = self._events
        self._polled.set()
        waiting = await events.get()
        if waiting is None:
            return web.Response(status=410)
        self._polled.clear()
        request_id, event = waiting
        deadline = int((time.time() + self._timeout_s) * 1000)
        return web.Response(
            body=event,
            content_type="application/json",
            headers={
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": ARN + self.name,
                "Lambda-Runtime-Trace-Id": trace_header(),
            },
        )

    async def _response(self, request: web.Request) -> web.Response:
        body = await request.read()
        if len(body) <= RESPONSE_LIMIT_BYTES:
            return self._finish(request.match_info["id"], body, None)
        said = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes)."
        refused = {
            "errorMessage": f"Exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes).",
            "errorType": "RequestEntityTooLarge",
        }
        self._finish(request.match_info["id"], b"", ResponseTooLarge(f"Function.ResponseSizeTooLarge: {said}"))
        return web.json_response(refused, status=413)

    async def _error(self, request: web.Request) -> web.Response:
        said = await request.text()
        return self._finish(request.match_info["id"], b"", FunctionFailed(f"{self.name} failed: {said}"))

    async def _init_error(self, request: web.Request) -> web.Response:
        self.log.append(await request.text())
        return web.Response(status=202)

    def _finish(self, request_id: str, body: bytes, failure: FunctionFailed | None) -> web.Response:
        result = self._results.get(request_id)
        if result is not None and not result.done():
            if failure is None:
                result.set_result(body)
            else:
                result.set_exception(failure)
        return web.Response(status=202)

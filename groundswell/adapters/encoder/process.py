"""The encoder process as its parent sees it: started, asked with a deadline, and killed when it does not answer."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence

import msgspec

from groundswell.adapters.encoder import wire
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import EmbeddingUnavailable

STOP_S = 5.0
_READ_BYTES = 2**20


class EncoderProcess:
    """One child. Its methods block and may be called from any thread; one question is asked at a time.

    Args:
        preload: modules that the child imports before anything else.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._monotonic = SystemClock().monotonic
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the child
        command = [sys.executable, "-m", "groundswell.adapters.encoder"]
        for module in preload:
            command += ["--preload", module]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._asking = threading.Lock()
        self._decoder: msgspec.msgpack.Decoder[wire.Reply] = msgspec.msgpack.Decoder(wire.Reply)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: wire.Request, timeout_s: float) -> wire.Reply:
        """The reply.

        Raises:
            EmbeddingUnavailable: it refused, died, or did not answer in time. In the last two cases it is gone.
        """
        with self._asking:
            deadline = self._monotonic() + timeout_s
            try:
                self._requests.write(wire.frame(request))
                size = int.from_bytes(self._read(wire.HEADER_BYTES, deadline), "big")
                if size > wire.MAX_FRAME_BYTES:
                    raise EmbeddingUnavailable("the model's process sent nonsense, and was stopped")
                reply = self._decoder.decode(self._read(size, deadline))
            except TimeoutError as error:
                self._kill()
                raise EmbeddingUnavailable(f"it gave no answer within {timeout_s:g} s, and was stopped") from error
            except (OSError, ValueError, msgspec.DecodeError) as error:
                self._kill()
                raise EmbeddingUnavailable(self._last_words()) from error
            except EmbeddingUnavailable:
                self._kill()
                raise
        if isinstance(reply, wire.Failed):
            raise EmbeddingUnavailable(reply.why)
        return reply

    def interrupt(self) -> None:
        """End it now. Whoever waits for an answer is told that there is none."""
        self._process.kill()

    def close(self) -> None:
        """Let it end by itself, which it does when its input closes; insist where it does not. Safe to call twice."""
        with contextlib.suppress(OSError):
            self._requests.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._let_go()

    def _read(self, size: int, deadline: float) -> bytes:
        """Raises: TimeoutError; EOFError as OSError where the child is gone."""
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            while size:
                left = deadline - self._monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeoutError
                part = os.read(self._replies.fileno(), min(size, _READ_BYTES))
                if not part:
                    raise ConnectionResetError("the encoder process ended")
                parts.append(part)
                size -= len(part)
        return b"".join(parts)

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _let_go(self) -> None:
        with self._asking:
            self._replies.close()
            self._said.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if code in (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV):
            how += ", which a lack of memory can do"
        try:
            self._said.seek(0, os.SEEK_END)
            self._said.seek(max(0, self._said.tell() - 2_000))
            lines = self._said.read().decode(errors="replace").strip().splitlines()
        except ValueError:  # closed meanwhile
            lines = []
        return f"its process {how}" + (f" ({lines[-1].strip()[:300]})" if lines else "")

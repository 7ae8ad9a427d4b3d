"""What the platform says of itself: progress for the person who starts it, and logs."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeAlias

from groundswell.configuration.redaction import redact


class Progress(Protocol):
    """Tells the person who started the platform what it is doing."""

    def step(self, text: str) -> None:
        """Something that takes a moment has begun, for example `Starting Postgres`. It ends the step before."""
        ...

    def note(self, text: str) -> None:
        """Something worth knowing, such as a part that is missing and what follows from it."""
        ...

    def ready(self, url: str) -> None:
        """Everything answers; the page is at `url`."""
        ...


# ------------------------------------------------------------------ logs
LogFormat: TypeAlias = Literal["console", "json"]
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that move a cursor, end a line or turn the direction of text: none of them reaches a log."""
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_CHATTY = ("httpx", "httpcore", "websockets", "uvicorn", "alembic", "asyncio", "botocore", "mangum")
_FAULTS_OF_CLIENTS = frozenset(
    {
        "Invalid HTTP request received.",
        "Unsupported upgrade request.",
        "Invalid UTF-8 sequence received from client.",
    }
)
"""What uvicorn logs when bytes are no request, or no text."""


def configure_logging(*, level: str, style: LogFormat) -> None:
    """Send every log record to standard error, in one style, without control characters and credentials.

    Libraries that narrate their work are heard from `warning` up, unless `level` is `debug`.
    """
    handler: logging.Handler
    if style == "json":
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
    else:
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(
            console=Console(stderr=True),
            show_path=False,
            markup=False,
            omit_repeated_times=False,
            log_time_format="%H:%M:%S",
        )
        handler.setFormatter(MaskingFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else logging.WARNING)
    server = logging.getLogger("uvicorn.error")
    server.removeFilter(_is_no_fault_of_a_client)
    if level != "debug":
        server.addFilter(_is_no_fault_of_a_client)


class MaskingFormatter(logging.Formatter):
    """`message key=value …`, and the traceback where there is one."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {key}={value}" for key, value in extra_fields(record).items())
        said = [escape_controls(f"{record.getMessage()}{extra}")]
        if record.exc_info:
            # Indented, so that no line of an exception's text looks like a record of its own.
            said += [f"  {escape_controls(line)}" for line in self.formatException(record.exc_info).split("\n")]
        return redact("\n".join(said))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, message, what `extra=` carried, and `error` for an exception."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said: dict[str, object] = {
            "ts": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extra_fields(record),
        }
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return redact(escape_controls(json.dumps(said, ensure_ascii=False, default=str)))


def _is_no_fault_of_a_client(record: logging.LogRecord) -> bool:
    """Whoever can connect could fill the log with these, and they say nothing about the platform."""
    return record.msg not in _FAULTS_OF_CLIENTS


def extra_fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


def escape_controls(text: str) -> str:
    r"""Return `text` with each control character written as JSON writes it, for example `\u001b`."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

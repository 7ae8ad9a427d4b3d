"""Takes credentials out of every text that leaves the process: logs, the console, problems and crash reports.

Values of secret variables are known here from the moment they are read, valid or not. What is known is replaced
wherever it appears, also in a message that a library wrote; so are user names and passwords in any URL.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MARK = "…"
MIN_CHARS = 6
"""A shorter value is in too many words to be replaced; a URL that holds it is still replaced as a whole."""
MAX_KNOWN = 512
"""Values known at once. A process reads a dozen; one whose secrets rotate forgets the oldest."""

_CREDENTIAL_NAMES = r"password|passwd|sslpassword|token|access_token|api[-_]?key|secret|signature"
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*)://([^/\s?#\"'@]*)@", re.IGNORECASE)
_PARAMETER = re.compile(rf"([?&](?:{_CREDENTIAL_NAMES})=)[^&\s\"'#]+", re.IGNORECASE)
_KEEPS_USER = {"postgresql", "postgres"}


class _Known:
    """The values to replace, and the pattern that finds them."""

    def __init__(self) -> None:
        self.values: dict[str, None] = {}
        self.pattern: re.Pattern[str] | None = None


_known = _Known()


def hide(text: str) -> None:
    """Replace `text`, and each credential in it where it is a URL or JSON, in all that `redact` reads from now on."""
    for value in (text, *_credentials(text)):
        if len(value) < MIN_CHARS:
            continue
        if value not in _known.values:
            _known.pattern = None  # a secret that is read anew and has not changed costs no new pattern
        _known.values.pop(value, None)
        _known.values[value] = None
    while len(_known.values) > MAX_KNOWN:
        del _known.values[next(iter(_known.values))]


def redact(text: str) -> str:
    """Return `text` with credentials replaced. It reads the same where there are none."""
    if _known.pattern is None and _known.values:
        forms = {form for value in tuple(_known.values) for form in _spellings(value)}
        # The longest first: a URL as a whole, before the password in it.
        _known.pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))
    if _known.pattern is not None:
        text = _known.pattern.sub(MARK, text)
    return _PARAMETER.sub(rf"\1{MARK}", _USERINFO.sub(_without_userinfo, text))


def redact_address(text: str) -> str:
    """Return an address that somebody typed without its credentials, also where it is too wrong to be a URL."""
    scheme, found, rest = text.partition("://")
    _, at, host = rest.rpartition("@") if found else text.rpartition("@")
    return redact(f"{scheme + found if found else ''}{MARK}@{host}" if at else text)


def redact_crashes() -> None:
    """Print tracebacks of exceptions that end the process, or a thread of it, without credentials."""

    def report(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))

    def report_thread(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_type is not SystemExit:
            report(ended.exc_type, ended.exc_value, ended.exc_traceback)

    sys.excepthook = report
    threading.excepthook = report_thread


def _without_userinfo(found: re.Match[str]) -> str:
    scheme, user, password = found[1], *found[2].partition(":")[::2]
    if scheme.lower() in _KEEPS_USER:
        return f"{scheme}://{user}:{MARK}@" if password else found[0]
    return f"{scheme}://{MARK}@"


def _credentials(text: str) -> Iterator[str]:
    """Passwords and the like within a URL, or within JSON such as the secret that RDS keeps."""
    if text.lstrip().startswith("{"):
        try:
            said = json.loads(text)
        except ValueError:
            return
        for name, value in said.items():
            if isinstance(value, str) and re.fullmatch(rf"(?:{_CREDENTIAL_NAMES})", name, re.IGNORECASE):
                yield value
        return
    try:
        parts = urlsplit(text)
    except ValueError:
        return
    userinfo, _, place = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    # A password that is also the name of something cannot be told from it, and hiding it would hide the name.
    named = {user, parts.path.strip("/"), *re.split(r"[:,]", place)}
    found = [password, unquote(password)]
    found += [value for name, value in parse_qsl(parts.query) if re.fullmatch(_CREDENTIAL_NAMES, name, re.IGNORECASE)]
    yield from (value for value in found if value not in named)


def _spellings(value: str) -> Iterator[str]:
    """A value as texts quote it: as it is, in JSON, in Python, in a URL."""
    yield from (value, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1])
    yield from (repr(value)[1:-1], quote(value, safe=""), quote(value))

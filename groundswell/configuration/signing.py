"""AWS Signature Version 4 of one small POST: what a function signs before its first answer.

botocore signs as well, and takes a fifth of a cold start to import. It signs all that is not read at a start, see
`adapters/aws_signature.py`.
https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(NamedTuple):
    key: str
    secret: str
    token: str | None


def signed_headers(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    credentials: Credentials,
    service: str,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """Return the headers to POST `body` to `url` with: those given, and those that sign it.

    Args:
        url: without a query.
        now: in UTC.
    """
    time = now.strftime("%Y%m%dT%H%M%SZ")
    given = {**headers, "Host": _host(url), "X-Amz-Date": time}
    if credentials.token:
        given["X-Amz-Security-Token"] = credentials.token
    signed = {name.lower(): " ".join(value.split()) for name, value in given.items()}
    names = ";".join(sorted(signed))
    path = quote(urlsplit(url).path or "/", safe="/~")
    canonical = "\n".join(
        ["POST", path, "", *(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, _digest(body)]
    )
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    to_sign = "\n".join([_ALGORITHM, time, scope, _digest(canonical.encode())])
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    given["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return given


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _host(url: str) -> str:
    """As clients write it: the port only where it is not the scheme's own."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return name if parts.port in (None, usual) else f"{name}:{parts.port}"

"""Secrets that are named instead of written out: the ARN of a Secrets Manager secret or of an SSM parameter.

What the environment then holds may be seen by anybody who may see a function's or a task's definition.

A function reads its secrets before its first answer. So they are read with one signed request each: a client of boto3
takes half a second of CPU to make, and botocore's signature alone a fifth.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from groundswell.configuration.signing import Credentials, signed_headers

_SECRET = re.compile(r"arn:(aws[a-z-]*):secretsmanager:([a-z0-9-]+):\d+:secret:.+")
_PARAMETER = re.compile(r"arn:(aws[a-z-]*):ssm:([a-z0-9-]+):\d+:parameter(/.+)")

TIMEOUT_S = 5
"""Seconds that AWS has to answer, each of two times."""
ATTEMPTS = 2
MAX_ANSWER_BYTES = 256 * 1024
"""A secret has at most 64 KiB."""
_SUFFIXES = {"aws-cn": "amazonaws.com.cn"}
_DUAL_STACK_SUFFIXES = {"aws-cn": "api.amazonwebservices.com.cn"}
"""Names that answer over IPv6 as well. The variable of every AWS client asks for them."""
_INSTALL = "cannot be read without the package botocore. Install groundswell[aws], or set the secret itself."


class _Call(NamedTuple):
    service: str
    region: str
    suffix: str
    target: str
    parameters: Mapping[str, object]


def is_reference(text: str) -> bool:
    """Whether `text` names a secret instead of being one."""
    return _SECRET.fullmatch(text) is not None or _PARAMETER.fullmatch(text) is not None


def resolve(reference: str) -> str:
    """The secret that `reference` names, read from AWS with the credentials of this process.

    Raises:
        ValueError: it cannot be read; a sentence that says why, without the secret.
    """
    secret, parameter = _SECRET.fullmatch(reference), _PARAMETER.fullmatch(reference)
    if secret is not None:
        answer = _ask(reference, _call(secret, "secretsmanager", "GetSecretValue", {"SecretId": reference}))
        found = answer.get("SecretString")
    elif parameter is not None:
        asked = {"Name": parameter[3], "WithDecryption": True}
        answer = _ask(reference, _call(parameter, "ssm", "GetParameter", asked))
        found = answer.get("Parameter", {}).get("Value")
    else:
        raise ValueError(f"{reference} names nothing that is known here. Set the ARN of a secret or of a parameter.")
    if not isinstance(found, str):
        raise ValueError(_unreadable(reference, "the answer holds no text"))  # noqa: TRY004 -- as its caller expects
    return found


def _call(arn: re.Match[str], service: str, action: str, parameters: Mapping[str, object]) -> _Call:
    prefix = "AmazonSSM" if service == "ssm" else service
    if os.environ.get("AWS_USE_DUALSTACK_ENDPOINT", "").lower() == "true":
        suffix = _DUAL_STACK_SUFFIXES.get(arn[1], "api.aws")
    else:
        suffix = _SUFFIXES.get(arn[1], "amazonaws.com")
    return _Call(service, arn[2], suffix, f"{prefix}.{action}", parameters)


def _ask(reference: str, call: _Call) -> dict[str, Any]:
    """Raises ValueError."""
    why = ""
    for _ in range(ATTEMPTS):
        try:
            request = _signed(call)
            context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
            # The scheme is that of the endpoint: https, or what AWS_ENDPOINT_URL says.
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310
                return json.loads(answer.read(MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            why = _refusal(error)
            if error.code < 500 and "Throttling" not in why:
                break
        except ImportError as error:
            raise ValueError(f"{reference} {_INSTALL}") from error
        except (OSError, ValueError) as error:
            why = str(error)
    raise ValueError(_unreadable(reference, why))


def _signed(call: _Call) -> urllib.request.Request:
    """Raises ValueError where there is nothing to sign with."""
    named = f"AWS_ENDPOINT_URL_{'SECRETS_MANAGER' if call.service == 'secretsmanager' else 'SSM'}"
    url = os.environ.get(named) or os.environ.get("AWS_ENDPOINT_URL")
    url = url or f"https://{call.service}.{call.region}.{call.suffix}/"
    body = json.dumps(call.parameters).encode()
    headers = signed_headers(
        url,
        body,
        {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": call.target},
        credentials=_credentials(),
        service=call.service,
        region=call.region,
        now=datetime.now(UTC),
    )
    return urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310


def _credentials() -> Credentials:
    """Those of the environment, which a function has; elsewhere whatever botocore finds, such as a task's role."""
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        return Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN"))
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    session: Any = Session()
    try:
        found: Any = session.get_credentials()
        frozen: Any = None if found is None else found.get_frozen_credentials()
    except BotoCoreError as error:
        raise ValueError(str(error)) from error
    if frozen is None:
        raise ValueError("there are no AWS credentials")
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


def _refusal(error: urllib.error.HTTPError) -> str:
    """What AWS says, which never holds the secret."""
    try:
        said = json.loads(error.read(MAX_ANSWER_BYTES))
        kind = str(said.get("__type", "")).rpartition("#")[2]
        return f"{kind or error.code}: {said.get('message') or said.get('Message') or error.reason}"
    except (OSError, ValueError, AttributeError):
        return f"HTTP status {error.code}"


def _unreadable(reference: str, why: str) -> str:
    return f"{reference} cannot be read ({why}). Check that it exists and that this role may read it."

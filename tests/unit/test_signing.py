"""What is signed for AWS is what botocore would sign."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from groundswell.configuration.signing import Credentials, signed_headers

TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
URLS = st.sampled_from(
    [
        "https://ssm.us-east-1.amazonaws.com/",
        "https://ssm.us-east-1.amazonaws.com",
        "https://secretsmanager.eu-west-1.api.aws:443/",
        "http://127.0.0.1:4566/",
        "http://127.0.0.1:4566/under/a path/",
        "http://[::1]:80/",
    ]
)


@given(
    url=URLS,
    body=st.binary(max_size=200),
    target=VALUES,
    key=TOKENS,
    secret=TOKENS,
    token=st.none() | TOKENS,
    now=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 -- hypothesis adds the zone
)
def test_a_request_carries_the_signature_that_botocore_gives_it(
    url: str, body: bytes, target: str, key: str, secret: str, token: str | None, now: datetime
) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    mine = signed_headers(
        url,
        body,
        headers,
        credentials=Credentials(key, secret, token),
        service="ssm",
        region="us-east-1",
        now=now.replace(tzinfo=UTC),
    )
    request: Any = AWSRequest(method="POST", url=url, data=body, headers=headers)
    request.context["timestamp"] = mine["X-Amz-Date"]
    signer: Any = SigV4Auth(BotocoreCredentials(key, secret, token), "ssm", "us-east-1")
    for name in ("X-Amz-Date", "X-Amz-Security-Token"):
        if name in mine:
            request.headers[name] = mine[name]
    theirs = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert mine["Authorization"].endswith(f"Signature={theirs}")
    assert (
        f"/{signer.credential_scope(request)}, SignedHeaders={signer.signed_headers(signer.headers_to_sign(request))},"
        in (mine["Authorization"])
    )

"""One deployment on AWS through an operator's credentials: its stacks' outputs, and its functions."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from groundswell.errors import CloudUnavailable

ANSWER_WAIT_S = 910
"""A function runs for fifteen minutes at most."""


class FunctionFailed(Exception):
    """The function ended without an answer; the text is what Lambda says of it."""


class AwsDeployment:
    """The stacks whose names begin with `name`, in one region.

    Raises:
        CloudUnavailable: boto3 is not installed, or there are no credentials.
    """

    def __init__(self, name: str, region: str) -> None:
        self.name, self.region = name, region
        self._session: Any = session(region)
        self._clients: dict[tuple[str, str], Any] = {}
        if self._session.get_credentials() is None:
            raise CloudUnavailable(
                "There are no AWS credentials here. Run `aws configure sso` (or `aws sso login`), or set AWS_PROFILE."
            )

    def client(self, service: str, *, region_name: str | None = None, **settings: Any) -> Any:
        """A boto3 client. `settings` are those of botocore's Config; `region_name` where it is not the deployment's."""
        from botocore.config import Config

        # Making one reads the service's whole model.
        region = region_name or self.region
        key = (f"{service} {region}", repr(sorted(settings.items())))
        if key not in self._clients:
            self._clients[key] = self._session.client(service, region_name=region, config=Config(**settings))
        return self._clients[key]

    def outputs(self, stack: str) -> Mapping[str, str]:
        """What the stack `stack` (`Data`, `Platform`) puts out.

        Raises:
            CloudUnavailable: there is no such stack, or AWS does not say.
        """
        full = f"{self.name}{stack}"
        with explained(f"cloudformation:DescribeStacks on {full} in {self.region}"):
            (found,) = self.client("cloudformation").describe_stacks(StackName=full)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}

    def output(self, stack: str, key: str) -> str:
        """One of them. Raises CloudUnavailable where it is not there: the stack is that of an earlier release."""
        found = self.outputs(stack).get(key)
        if found is None:
            raise CloudUnavailable(
                f"The stack {self.name}{stack} has no output {key}: it is of an earlier release. Deploy again."
            )
        return found

    def invoke(self, function: str, event: Mapping[str, object]) -> Any:
        """What a function answers.

        Raises:
            FunctionFailed: it ended without an answer.
            CloudUnavailable: it cannot be invoked.
        """
        # One try: a command that was begun twice would do its work twice.
        client = self.client(
            "lambda", read_timeout=ANSWER_WAIT_S, tcp_keepalive=True, retries={"total_max_attempts": 1}
        )
        with explained(f"lambda:InvokeFunction on {function}"):
            answer = client.invoke(FunctionName=function, Payload=msgspec.json.encode(event))
            said = answer["Payload"].read()
        if "FunctionError" in answer:
            raise FunctionFailed(said.decode(errors="replace"))
        return msgspec.json.decode(said)


def session(region: str) -> Any:
    """A boto3 session. Raises CloudUnavailable where boto3 is not installed, or the named profile does not exist."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise CloudUnavailable(
            "the package boto3, which asks AWS, is not installed. Run `make set-up`, or install groundswell[aws]."
        ) from error
    try:
        return boto3.Session(region_name=region)
    except BotoCoreError as error:
        raise CloudUnavailable(f"{error}. Correct AWS_PROFILE.") from error


@contextmanager
def explained(what: str) -> Generator[None]:
    """Turn what boto3 raises into what an operator can act on. `what`: the action, with the resource."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        response: Any = error.response  # pyright: ignore[reportUnknownMemberType]
        code, said = response["Error"].get("Code", ""), response["Error"].get("Message", "")
        if code in DENIED:
            raise CloudUnavailable(f"These credentials may not do {what}. AWS says: {said}") from error
        raise CloudUnavailable(f"AWS refuses {what} ({code}: {said}).") from error
    except BotoCoreError as error:
        raise CloudUnavailable(
            f"AWS does not answer {what} ({error}). Check the credentials, the region and the network."
        ) from error


DENIED = frozenset({
    "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "ExpiredToken", "ExpiredTokenException",
    "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "NotAuthorized", "SignatureDoesNotMatch",
})  # fmt: skip
"""Codes of errors that say something about the credentials."""

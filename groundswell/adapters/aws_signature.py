"""AWS Signature Version 4 for requests that are sent without boto3, by botocore and with the process's credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

REFRESH_CREDENTIALS_S = 60.0


class AwsCredentials(Protocol):
    """botocore's, which has no types of its own."""

    def get_frozen_credentials(self) -> object:
        """Key, secret and token as they are now; renewed where they would expire."""
        ...


class Signer:
    """Signs requests to one service in one region.

    Args:
        credentials: None takes those of the task, the function or the machine, as every AWS client does.
        purpose: what the requests are for, for the message that there are no credentials.
    """

    def __init__(self, service: str, region: str, *, purpose: str, credentials: AwsCredentials | None = None) -> None:
        self._service = service
        self._region = region
        self._purpose = purpose
        self._credentials = credentials
        self._frozen: object = None
        self._frozen_at = float("-inf")

    async def headers(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The headers to send, `headers` among them.

        Raises:
            PermissionError: there are no credentials.
        """
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers or {}))
        signer: Any = SigV4Auth(await self._fresh_credentials(), self._service, self._region)
        signer.add_auth(request)
        return dict(request.headers.items())

    async def _fresh_credentials(self) -> object:
        """Looked up now and then, in a thread: a task's credentials are renewed over the network."""
        now = asyncio.get_running_loop().time()
        if self._frozen is None or now - self._frozen_at > REFRESH_CREDENTIALS_S:
            self._frozen_at = now
            self._frozen = await asyncio.to_thread(self._look_up_credentials)
        return self._frozen

    def _look_up_credentials(self) -> object:
        if self._credentials is None:
            import botocore.session

            session: Any = botocore.session.get_session()  # pyright: ignore[reportUnknownMemberType]
            found: AwsCredentials | None = session.get_credentials()
            if found is None:
                raise PermissionError(
                    f"There are no AWS credentials to {self._purpose} with: run with a task role, or set AWS_PROFILE."
                )
            self._credentials = found
        return self._credentials.get_frozen_credentials()

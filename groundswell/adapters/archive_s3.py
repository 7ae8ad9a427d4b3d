"""An archive in an S3 bucket, or in anything that speaks S3."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from groundswell.errors import ArchiveDamaged, ArchiveUnavailable
from groundswell.ports.archive import StoredObject

R = TypeVar("R")

_MISSING = {"404", "NoSuchKey", "NotFound"}
MAX_ATTEMPTS = 4
TIMEOUT_S = 20


class S3Archive:
    """`ports.Archive` in a bucket, below a prefix.

    Credentials and region are found as everywhere on AWS. `endpoint_url` is for other stores that speak S3; where it is
    not given, `AWS_ENDPOINT_URL` counts.
    """

    def __init__(self, bucket: str, prefix: str = "", *, endpoint_url: str | None = None) -> None:
        self.bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.where = f"s3://{bucket}/{self._prefix}".rstrip("/")
        self._endpoint_url = endpoint_url
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def put(self, name: str, file: Path, *, sha256: str) -> None:
        """S3 compares the checksum with what arrived, and stores all of it or nothing."""
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()

        def put(client: Any) -> None:
            with file.open("rb") as body:
                # Not every store that speaks S3 compares.
                if hashlib.file_digest(body, "sha256").hexdigest() != sha256:
                    raise OSError(f"{file} changed while it was being archived; nothing was stored")
                body.seek(0)
                client.put_object(Bucket=self.bucket, Key=self._key(name), Body=body, ChecksumSHA256=checksum)

        await self._do("write", name, put)

    async def get(self, name: str, into: Path) -> None:
        def get(client: Any) -> None:
            answer = client.get_object(Bucket=self.bucket, Key=self._key(name))
            with into.open("wb") as sink:
                for chunk in answer["Body"].iter_chunks(1 << 20):
                    sink.write(chunk)

        await self._do("read", name, get)

    async def delete(self, name: str) -> None:
        await self._do("delete", name, lambda client: client.delete_object(Bucket=self.bucket, Key=self._key(name)))

    async def objects(self, prefix: str) -> AsyncGenerator[StoredObject]:
        after: str | None = None
        while True:
            answer = await self._do("list", prefix, partial(self._list, self._key(prefix), after))
            for found in answer.get("Contents", ()):
                yield StoredObject(found["Key"].removeprefix(self._prefix), found["Size"])
            after = answer.get("NextContinuationToken")
            if not after:
                return

    def local(self, name: str) -> Path | None:  # noqa: ARG002 -- nothing of it lies here
        return None

    def _list(self, prefix: str, after: str | None, client: Any) -> dict[str, Any]:
        more = {"ContinuationToken": after} if after else {}
        return client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, **more)

    def _key(self, name: str) -> str:
        return self._prefix + name

    async def _do(self, act: str, name: str, call: Callable[[Any], R]) -> R:
        client = await self._connected()
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        try:
            return await asyncio.to_thread(call, client)
        except ClientError as error:
            response: dict[str, dict[str, str]] = cast(Any, error).response
            code = response.get("Error", {}).get("Code", "an error")
            if code in _MISSING and act == "read":
                raise ArchiveDamaged(
                    f"{name} is missing from the archive at {self.where}. "
                    "Put it back from a copy; `groundswell archive verify` lists all that is missing."
                ) from error
            raise self._cannot(act, name, f"S3 answers {code}") from error
        except (BotoCoreError, HTTPError, OSError) as error:
            raise self._cannot(act, name, str(error).rstrip(".")) from error

    def _cannot(self, act: str, name: str, why: str) -> ArchiveUnavailable:
        return ArchiveUnavailable(
            f"Cannot {act} {name or 'it'} in the archive at {self.where}: {why}. Check the bucket, its region and that "
            "the credentials may read, write, list and delete; posts stay in Postgres until it works."
        )

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect)
        return self._client

    def _connect(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise ArchiveUnavailable(
                f"The archive at {self.where} needs the package boto3, which is not installed. "
                "Install groundswell[aws], or name a directory in GROUNDSWELL_ARCHIVE."
            ) from error
        config = Config(
            retries={"mode": "standard", "max_attempts": MAX_ATTEMPTS},
            connect_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
            # Inside a VPC, the gateway endpoint of S3 carries IPv4: where all else goes over IPv6, S3 does not.
            use_dualstack_endpoint=False,
        )
        # The stubs of boto3 are a package of their own; what is used of it here is four calls.
        client: Callable[..., Any] = boto3.client  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return client("s3", endpoint_url=self._endpoint_url, config=config)

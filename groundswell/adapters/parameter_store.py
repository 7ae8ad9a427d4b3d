"""SSM's Parameter Store, as the place where secrets are kept that a deployment makes itself."""

from __future__ import annotations

import re
from typing import Any

from groundswell.errors import StoreUnavailable

_PARAMETER = re.compile(r"arn:aws[a-z-]*:ssm:([a-z0-9-]+):\d+:parameter(/.+)")


class KeptParameter:
    """One SecureString, under AWS's own key.

    Args:
        arn: of the parameter, which need not exist.
    """

    def __init__(self, arn: str) -> None:
        match = _PARAMETER.fullmatch(arn)
        if match is None:
            raise ValueError(f"{arn} is not the ARN of an SSM parameter")
        self.name = match[2]
        self._region = match[1]

    def read(self) -> str | None:
        """The value; None where there is none yet. Raises StoreUnavailable."""
        from botocore.exceptions import BotoCoreError, ClientError

        client = self._client()
        try:
            return str(client.get_parameter(Name=self.name, WithDecryption=True)["Parameter"]["Value"])
        except client.exceptions.ParameterNotFound:
            return None
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailable(f"The parameter {self.name} cannot be read: {error}.") from error

    def write(self, value: str) -> None:
        """Make it, or replace its value. Raises StoreUnavailable."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client().put_parameter(Name=self.name, Value=value, Type="SecureString", Overwrite=True)
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailable(f"The parameter {self.name} cannot be written: {error}.") from error

    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        make: Any = boto3.client  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        patience = Config(connect_timeout=5, read_timeout=5, retries={"mode": "standard", "max_attempts": 3})
        return make("ssm", region_name=self._region, config=patience)

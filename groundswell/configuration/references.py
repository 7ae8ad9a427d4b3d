"""Secrets that are named instead of written out: the ARN of a Secrets Manager secret or of an SSM parameter.

What the environment then holds may be seen by anybody who may see a function's or a task's definition.
"""

from __future__ import annotations

import re
from typing import Any

_SECRET = re.compile(r"arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):\d+:secret:.+")
_PARAMETER = re.compile(r"arn:aws[a-z-]*:ssm:([a-z0-9-]+):\d+:parameter(/.+)")


TIMEOUT_S = 5
"""Seconds that AWS has to answer, each of two times."""


def is_reference(text: str) -> bool:
    """Whether `text` names a secret instead of being one."""
    return _SECRET.fullmatch(text) is not None or _PARAMETER.fullmatch(text) is not None


def resolve(reference: str) -> str:
    """The secret that `reference` names, read from AWS with the credentials of this process.

    Raises:
        ValueError: it cannot be read; a sentence that says why, without the secret.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise ValueError(
            f"{reference} cannot be read without the package boto3. Install groundswell[aws], or set the secret itself."
        ) from error

    make_client: Any = boto3.client  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    patience = Config(
        connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"mode": "standard", "max_attempts": 2}
    )
    secret, parameter = _SECRET.fullmatch(reference), _PARAMETER.fullmatch(reference)
    try:
        if secret is not None:
            answer = make_client("secretsmanager", region_name=secret[1], config=patience).get_secret_value(
                SecretId=reference
            )
            return str(answer["SecretString"])
        if parameter is not None:
            client = make_client("ssm", region_name=parameter[1], config=patience)
            return str(client.get_parameter(Name=parameter[2], WithDecryption=True)["Parameter"]["Value"])
    except (BotoCoreError, ClientError, KeyError) as error:
        raise ValueError(
            f"{reference} cannot be read ({error}). Check that it exists and that this role may read it."
        ) from error
    raise ValueError(f"{reference} names nothing that is known here. Set the ARN of a secret or of a parameter.")

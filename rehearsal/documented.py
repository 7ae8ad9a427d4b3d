"""An operator types what docs/deploy.md has: its blocks of shell, as they stand, against the local AWS."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from pathlib import Path

from groundswell.core.api_keys import KEY_PREFIX
from rehearsal.deploying import ROOT
from rehearsal.expecting import expect
from rehearsal.invoke_endpoint import InvokeEndpoint
from rehearsal.stage import VECTOR_KEY_NAME, Stage, make_user

BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
BEGINS = (
    "aws iam create-service-linked-role",
    "aws ec2 describe-availability-zones",
    "aws cloudformation describe-stack-events",
    "aws rds describe-db-instances",
    "output() {",
    'aws lambda invoke --function-name "$migrate" --cli-binary-format',
    "read -rs KEY\naws ssm put-parameter --overwrite",
    "groundswell aws run -- keys create ops ",
    "groundswell aws run -- keys create ops-2",
    'aws ecs update-service --cluster "$cluster" --service "$service" --force-new-deployment',
    'aws lambda invoke --function-name "$admin"',
    "password=$(aws secretsmanager",
)
"""How the blocks begin that are typed here, in the order in which they are typed, all into one shell, which keeps what
a block has set. The master's password comes last, because Postgres is told of it only when the shell has ended."""
EXAMPLE_DAY = "2026-11-20"
"""The day of the page's examples; here the day whose posts are in the archive takes its place."""
KEYS_MADE = 3
"""API keys that these blocks make and print."""


def blocks() -> list[str]:
    """Return the blocks of shell of docs/deploy.md that this types.

    Raises:
        AssertionError: a block is not there, or two begin alike.
    """
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    found = [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in BLOCK.findall(page)]
    typed: list[str] = []
    for begin in BEGINS:
        (block,) = (each for each in found if each.startswith(begin))
        typed.append(block)
    return typed


async def documented(stage: Stage) -> str:
    """Each block ends well, and what it changes is changed."""
    programs = stage.folder / "programs"
    programs.mkdir(exist_ok=True)
    for name, module in (("aws", "rehearsal.aws_command"), ("groundswell", "groundswell")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n', "utf-8")
        program.chmod(0o755)
    parameters, secrets = stage.account.client("ssm"), stage.account.client("secretsmanager")
    key = parameters.get_parameter(Name=VECTOR_KEY_NAME, WithDecryption=True)["Parameter"]["Value"]
    before = secrets.get_secret_value(SecretId=stage.database_secret)["SecretString"]
    logins = {each["Name"]: each["Version"] for each in _logins(stage)}
    script = "\n".join(blocks()).replace(EXAMPLE_DAY, await asyncio.to_thread(_archived_day, stage))
    said = await _typed(stage, programs, script, f"{key}\n")
    kept = parameters.get_parameter(Name=VECTOR_KEY_NAME)["Parameter"]
    expect(kept["Version"] > 1, f"the parameter was not replaced: {kept['Version']}")
    expect({each["Name"]: each["Version"] for each in _logins(stage)} != logins, "no password of a service is new")
    after = json.loads(secrets.get_secret_value(SecretId=stage.database_secret)["SecretString"])
    was = json.loads(before)
    expect(after["password"] != was["password"] and {**after, "password": ""} == {**was, "password": ""}, sorted(after))
    # RDS takes the new password of its master user; the Postgres that stands for it is told here.
    await asyncio.to_thread(make_user, stage, after)
    expect(said.count(KEY_PREFIX) == KEYS_MADE, f"{said.count(KEY_PREFIX)} keys")
    return f"{len(BEGINS)} blocks of docs/deploy.md, as they stand"


def _archived_day(stage: Stage) -> str:
    with stage.database() as conn:
        row = conn.execute("SELECT min(day)::text FROM archive_files").fetchone()
    expect(row and row[0], "nothing was archived")
    return str(row[0]) if row else ""


def _logins(stage: Stage) -> list[dict[str, object]]:
    found = stage.account.client("ssm").get_parameters_by_path(Path="/Groundswell/database")
    return list(found["Parameters"])


async def _typed(stage: Stage, programs: Path, script: str, answers: str) -> str:
    """Run a script in bash, which ends at the first command that fails. Returns what it printed."""
    async with InvokeEndpoint(stage.functions) as lambda_api:
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", script,
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
                **stage.account.environment,
                "AWS_ENDPOINT_URL_LAMBDA": lambda_api.url,
            },
        )  # fmt: skip
        out, _ = await process.communicate(answers.encode())
    expect(process.returncode == 0, f"bash ended with {process.returncode}:\n{out.decode()[-3000:]}")
    return out.decode()

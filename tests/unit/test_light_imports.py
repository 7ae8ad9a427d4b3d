"""What a process does not load: memory and start-up time that nobody would use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

USES_THE_INDEX = """
import asyncio
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.errors import VectorIndexUnavailable
from groundswell.ports.vectors import Space

async def use():
    index = QdrantIndex("http://127.0.0.1:9")
    try:
        await index.ensure(Space(name="some", dimensions=4))
    except VectorIndexUnavailable:
        await index.close()

asyncio.run(use())
"""


def loaded_by(program: str, **environment: str) -> set[str]:
    """The top-level packages in memory after `program`, in a fresh interpreter."""
    return {name.partition(".")[0] for name in modules_loaded_by(program, **environment)}


def modules_loaded_by(program: str, **environment: str) -> set[str]:
    """Every module in memory after `program`, in a fresh interpreter."""
    ask = "\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program + ask],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_vector_index_brings_no_models_along() -> None:
    loaded = loaded_by(USES_THE_INDEX)
    assert "httpx" in loaded
    assert not loaded & {"fastembed", "onnxruntime", "huggingface_hub", "grpc", "pydantic"}


MODELS = {"numpy", "fastembed", "onnxruntime", "tokenizers"}


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("groundswell.wiring.api", {*MODELS, "uvicorn", "zstandard", "duckdb", "boto3", "httpx"}),
        ("functions.api.handler", {*MODELS, "uvicorn", "zstandard", "duckdb", "boto3", "aws_xray_sdk"}),
    ],
)
def test_an_api_is_imported_without_what_its_first_answers_do_not_need(module: str, unused: set[str]) -> None:
    assert not loaded_by(f"import {module}") & unused


@pytest.mark.parametrize("package", ["psycopg", "httpx", "numpy", "fastapi", "duckdb", "boto3"])
def test_the_command_line_alone_loads_no_heavy_client(package: str) -> None:
    assert package not in loaded_by("import groundswell.cli")


READS_A_SECRET = """
from groundswell.configuration.references import resolve
try:
    resolve("arn:aws:ssm:us-east-1:123456789012:parameter/some")
except ValueError as error:
    assert "refused" in str(error), error
"""


def test_a_function_reads_a_secret_without_the_clients_of_aws() -> None:
    """It has its credentials in its environment, and reads secrets before its first answer."""
    loaded = loaded_by(
        READS_A_SECRET, AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="key"
    )
    assert not loaded & {"boto3", "botocore", "requests", "httpx", "aiohttp"}


HANDLERS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted([*ROOT.glob("functions/*/handler.py"), ROOT / "functions/api/sockets.py"])
]


@pytest.mark.parametrize("handler", HANDLERS)
def test_no_function_imports_a_client_of_aws_or_what_computes_before_an_event_needs_it(handler: str) -> None:
    modules = modules_loaded_by(f"import {handler}")
    assert not modules & {"botocore.auth", "botocore.client", "botocore.session"}
    unused = {"alembic", "aws_xray_sdk", "boto3", "duckdb", "httpx", "numpy", "requests", "rich", "sqlalchemy", "typer"}
    if not handler.startswith("functions.api."):
        unused |= {"fastapi", "pydantic", "starlette"}
    assert not {name.partition(".")[0] for name in modules} & unused


@pytest.mark.parametrize("handler", ["functions.api.handler", "functions.api.sockets"])
def test_an_api_is_imported_without_what_describes_it(handler: str) -> None:
    """The models of answers are for who asks for the OpenAPI document."""
    assert "functions.api.models" not in modules_loaded_by(f"import {handler}")


@pytest.mark.parametrize("handler", ["functions.api.handler", "functions.api.sockets"])
def test_a_function_of_the_api_starts_without_what_few_requests_need(handler: str) -> None:
    loaded = loaded_by(f"import {handler}")
    assert not loaded & {"zstandard", "duckdb", "httpx", "tokenizers", "aiohttp", "alembic", "websockets"}


ANSWERS_ONCE = """
from types import SimpleNamespace
from functions.api.handler import handler
from rehearsal.events import http_event

answer = handler(http_event("GET", "/healthz"), SimpleNamespace(function_name="api"))
assert answer["statusCode"] == 200, answer
"""


@pytest.mark.parametrize(("tracing", "loads_it"), [("off", False), ("xray", True)])
def test_the_sdk_of_x_ray_is_loaded_by_who_traces_and_by_nobody_else(tracing: str, loads_it: bool) -> None:
    loaded = loaded_by(
        ANSWERS_ONCE,
        GROUNDSWELL_TRACING=tracing,
        GROUNDSWELL_DATABASE_URL="postgresql://nobody:nothing@127.0.0.1:9/none",
    )
    assert ("aws_xray_sdk" in loaded) is loads_it

"""The functions' zips: what is in them, that they are the same twice, and that their size is kept."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cdk import assets, pythons
from deployment.knobs import DeploymentError, load

HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TARGET = (load({}).function_platform, load({}).function_python)
MEGA = 1e6

needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="wheels for this machine are asked for by Linux's names"
)


def built(name: str, platform: str, python: str) -> Path:
    try:
        return assets.build(name, platform, python)
    except DeploymentError as error:
        if "cannot be fetched" in str(error) and "network" in str(error).lower():
            pytest.skip("the package index cannot be reached")
        raise


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_packages_are_those_of_the_lock_and_what_lambda_brings_is_left_out() -> None:
    locked = assets._locked(("psycopg[binary]", "boto3"), *TARGET)
    names = {entry.partition("==")[0] for entry in locked}
    assert {"psycopg", "psycopg-binary", "typing-extensions"} >= names >= {"psycopg", "psycopg-binary"}
    assert all("--hash=sha256:" in entry for entry in locked)


def test_a_package_that_is_not_locked_is_named() -> None:
    with pytest.raises(DeploymentError, match=r"requirements\.lock has no left-pad\. Run `make lock`"):
        assets._lock_entries(["left-pad"])


@pytest.mark.slow
@pytest.mark.parametrize("name", assets.CONTENTS)
def test_every_zip_is_within_its_size(name: str) -> None:
    path = built(name, *TARGET)
    assert assets.unpacked_bytes(path) < assets.MOST_UNPACKED_BYTES
    if not assets.CONTENTS[name].model:
        assert path.stat().st_size < 60 * MEGA


@pytest.mark.slow
@pytest.mark.parametrize("name", assets.CONTENTS)
def test_no_function_carries_what_it_does_not_run(name: str) -> None:
    found = names_in(built(name, *TARGET))
    folders = {entry.partition("/")[0] for entry in found}
    # The operator's function alone runs the command line.
    command_line = set[str]() if name == "admin" else {"typer"}
    unwanted = {"boto3", "botocore", "fastembed", "pytest", "aws_cdk", "cdk", "tests"} | command_line
    assert not unwanted & folders
    assert not [entry for entry in found if entry.endswith(".pyi")]
    assert "groundswell/env.schema.json" in found
    assert not [entry for entry in found if "x86_64" in entry and entry.endswith(".so")]


@pytest.mark.slow
def test_what_stands_for_a_zip_has_no_folder_that_a_zip_has_not() -> None:
    """Python imports an empty folder as a package: FastAPI starts without `pydantic/v1/`, and not with an empty one."""
    for folder in assets.installed("api", *TARGET):
        assert not [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]


def modules_in(path: Path) -> tuple[set[str], dict[str, bytes]]:
    """The sources in a zip, and the compiled modules with how each begins, both by the name of the module's file."""
    with zipfile.ZipFile(path) as archive:
        found = archive.namelist()
        compiled = {
            re.sub(r"(__pycache__/)?([^/.]+)(\.cpython-\d+)?\.pyc$", r"\2", entry): archive.read(entry)[:8]
            for entry in found
            if entry.endswith(".pyc")
        }
    return {entry.removesuffix(".py") for entry in found if entry.endswith(".py")}, compiled


@pytest.mark.slow
@pytest.mark.parametrize("python", [HOST_PYTHON, TARGET[1]])
def test_every_module_is_compiled_by_the_python_that_runs_it(python: str) -> None:
    """A function cannot write beside its code: it would compile every module at each cold start."""
    interpreter = pythons.find(python)
    if interpreter is None:
        pytest.skip(f"there is no Python {python} on this machine")
    sources, compiled = modules_in(built("costs", TARGET[0], python))
    said = subprocess.run(
        [interpreter, "-c", "import importlib.util as u; print(u.MAGIC_NUMBER.hex())"],
        check=True,
        capture_output=True,
        text=True,
    )
    magic = bytes.fromhex(said.stdout)
    assert "functions/costs/handler" in compiled
    assert "aws_lambda_powertools/logging/logger" in compiled
    assert not sources - set(compiled)
    # The flags: by a hash of the source, which is not looked at.
    assert set(compiled.values()) == {magic + bytes((1, 0, 0, 0))}


def test_without_that_python_the_sources_are_deployed_and_the_deploy_says_what_it_means(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(pythons, "find", lambda _: None)
    monkeypatch.setattr(assets, "BUILT", tmp_path)
    monkeypatch.setattr(assets, "installed", lambda *_: [])
    assets._say_that_starts_are_slow.cache_clear()
    for name in ("costs", "mover"):
        sources, compiled = modules_in(assets.build(name, *TARGET))
        assert "functions/costs/handler" in sources or name != "costs"
        assert not compiled
    said = capsys.readouterr().err
    assert said.count(f"Python {TARGET[1]} is not on this machine") == 1
    assert pythons.VARIABLE in said


def test_a_module_that_cannot_be_compiled_is_not_deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def\n", "utf-8")
    monkeypatch.setattr(assets, "BUILT", tmp_path / "built")
    monkeypatch.setattr(assets, "installed", lambda *_: [])
    monkeypatch.setattr(assets, "_sources", lambda _: [("functions/broken.py", broken)])
    (tmp_path / "built").mkdir()
    with pytest.raises(DeploymentError, match=r"cannot be compiled by .*\n(?s:.*)functions has an error"):
        assets.build("costs", TARGET[0], HOST_PYTHON)
    assert not list((tmp_path / "built").glob("*.zip"))


@pytest.mark.slow
def test_the_same_inputs_give_the_same_zip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = built("costs", *TARGET)
    monkeypatch.setattr(assets, "BUILT", tmp_path)
    second = built("costs", *TARGET)
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


HANDLERS = [
    (name, handler)
    for name, handler in [
        ("api", "functions.api.handler"),
        ("api", "functions.api.sockets"),
        ("migrate", "functions.migrate.handler"),
        ("mover", "functions.mover.handler"),
        ("cleanup", "functions.cleanup.handler"),
        ("costs", "functions.costs.handler"),
    ]
    if (assets.ROOT / (handler.replace(".", "/") + ".py")).exists()
]


@needs_linux
@pytest.mark.slow
@pytest.mark.parametrize(("name", "handler"), HANDLERS)
def test_a_handler_needs_nothing_that_is_not_in_its_zip_or_in_lambda(name: str, handler: str, tmp_path: Path) -> None:
    """Imports it from the zip built for this machine, in an interpreter that sees nothing else."""
    with zipfile.ZipFile(built(name, "x86_64-manylinux_2_34", HOST_PYTHON)) as archive:
        archive.extractall(tmp_path)
    from importlib.util import find_spec

    brought = []
    for module in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six"):
        spec = find_spec(module)
        assert spec is not None and spec.origin is not None
        brought.append(spec.origin.removesuffix("/__init__.py"))
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    for origin in brought:
        (runtime / Path(origin).name).symlink_to(origin)
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(runtime)!r}]; import {handler}"
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env={"AWS_LAMBDA_FUNCTION_NAME": name, "POWERTOOLS_TRACE_DISABLED": "1"},
        cwd=tmp_path,
    )
    assert said.returncode == 0, said.stderr

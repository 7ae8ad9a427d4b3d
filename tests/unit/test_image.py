"""The relay's image as it is written: what runs while it is built, and what of the packages is in it."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from deployment.packages import AWS_SERVICES, NOT_IMPORTED, is_read, without_symbols
from rehearsal.image import __main__ as image_test
from rehearsal.image.acts import ARM64, LEAST_LIBRARIES, check_foreign

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "relay_container" / "Dockerfile").read_text("utf-8")
LOCK = (ROOT / "relay_container" / "requirements.lock").read_text("utf-8")


def stages(dockerfile: str) -> list[tuple[str, list[str]]]:
    """Each stage: what follows FROM, and its instructions."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE))
    found: list[tuple[str, list[str]]] = []
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append((rest, []))
        else:
            found[-1][1].append(instruction)
    return found


OPERATORS_ALONE = frozenset(
    f"groundswell/adapters/{name}.py" for name in ("aws_account", "aws_deployment", "aws_preflight", "aws_restore")
)
"""Modules that run where an operator sits, or in the costs function, and never in the image."""


def services_asked_for() -> Iterator[str]:
    """The names that clients of boto3 are made with, in everything that runs in the image."""
    for package in ("groundswell", "functions", "relay_container"):
        for path in (ROOT / package).rglob("*.py"):
            if path.relative_to(ROOT).as_posix() in OPERATORS_ALONE:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    called = ast.unparse(node.func)
                    if called.endswith(".client") or called in {"client", "make_client", "create_client"}:
                        yield str(node.args[0].value)


def test_nothing_of_the_target_runs_while_the_image_is_built() -> None:
    found = stages(DOCKERFILE)
    assert len(found) == 2
    for base, instructions in found:
        assert "RUN" not in instructions or base.startswith("--platform=$BUILDPLATFORM "), base
    assert "RUN" in found[0][1]


def test_the_lock_of_the_image_has_nothing_that_is_not_imported() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))
    assert {"huggingface-hub", "hf-xet"} <= NOT_IMPORTED
    assert "tokenizers" in locked
    assert not NOT_IMPORTED & locked


def test_every_client_of_aws_has_its_description_in_the_image() -> None:
    asked = set(services_asked_for())
    assert "s3" in asked
    assert asked <= AWS_SERVICES


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("botocore/data/s3/2006-03-01/service-2.json.gz", True),
        ("botocore/data/endpoints.json", True),
        ("botocore/data/s3control/2018-08-20/service-2.json.gz", False),
        ("botocore/data/ec2/2016-11-15/service-2.json.gz", False),
        ("boto3/session.py", True),
        ("boto3/data/ec2/2016-11-15/resources-1.json", False),
        ("numpy/_core/_multiarray_umath.cpython-313-x86_64-linux-gnu.so", True),
        ("numpy/_core/_multiarray_tests.cpython-313-x86_64-linux-gnu.so", False),
        ("numpy/_core/tests/test_simd.py", False),
        ("fastapi-0.165.0.dist-info/METADATA", True),
        ("fastapi-0.165.0.dist-info/RECORD", False),
        ("wordllama/weights/l2_supercat_256.safetensors", True),
        ("wordllama/algorithms/kmeans.cpython-313-x86_64-linux-gnu.so", False),
        ("pydantic/v1/main.py", False),
        ("pygments/lexers/python.py", True),
        ("pygments/lexers/javascript.py", False),
        ("sqlalchemy/dialects/postgresql/base.py", True),
        ("sqlalchemy/dialects/oracle/base.py", False),
        ("aws_lambda_powertools/utilities/typing/__init__.py", True),
        ("aws_lambda_powertools/utilities/parser/parser.py", False),
        ("Crypto/PublicKey/ECC.py", True),
        ("Crypto/Cipher/AES.py", False),
        ("duckdb/experimental/spark/__init__.py", False),
    ],
)
def test_what_is_deployed_of_a_package_is_what_is_read(path: str, read: bool) -> None:
    assert is_read(PurePosixPath(path)) == read


WITHOUT_WHAT_IS_LEFT_OUT = """
import importlib, importlib.util, site, sys
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from deployment.packages import is_read

FOLDERS = [Path(folder) for folder in site.getsitepackages()]

class Image(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = super().find_spec(name, path, target)
        origin = Path(found.origin) if found and found.origin else None
        inside = next((origin.relative_to(f) for f in FOLDERS if origin and origin.is_relative_to(f)), None)
        return found if inside is None or is_read(PurePosixPath(inside.as_posix())) else None

sys.meta_path[sys.meta_path.index(PathFinder)] = Image
for module in sys.argv[1:]:
    module, _, name = module.partition(":")
    if name and not hasattr(importlib.import_module(module), name):
        importlib.import_module(f"{module}.{name}")
    else:
        importlib.import_module(module)
from groundswell.adapters.sealed_wallet import wallet_of
wallet_of("secp256k1", bytes(31) + b"7").sign(b"a challenge")
"""


def imports_of_the_image() -> Iterator[str]:
    """What our modules import of the packages that the image's lock has, as `module` or `module:name`."""
    locked = set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))
    installed = {
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if locked & {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    }
    for package in ("groundswell", "functions", "relay_container"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    named = [(alias.name, "") for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    named = [(node.module, f":{alias.name}") for alias in node.names]
                else:
                    continue
                yield from (module + name for module, name in named if module.partition(".")[0] in installed)


def test_everything_that_our_modules_import_is_in_the_image() -> None:
    asked = sorted(set(imports_of_the_image()))
    assert {"duckdb", "Crypto.Hash:keccak", "aws_lambda_powertools:Logger"} <= set(asked)
    program = [sys.executable, "-c", WITHOUT_WHAT_IS_LEFT_OUT]
    said = subprocess.run([*program, *asked], cwd=ROOT, check=False, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    refused = subprocess.run([*program, "duckdb.experimental"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert "No module named 'duckdb.experimental'" in refused.stderr


def test_our_own_packages_stay_whole_and_others_are_compiled_alone(tmp_path: Path) -> None:
    for path in ("groundswell/watch_list.txt", "groundswell/a.py", "other/b.py", "other/notes.txt", "other/tests/c.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("", "utf-8")
    subprocess.run([sys.executable, ROOT / "scripts" / "slim_packages.py", tmp_path], check=True, capture_output=True)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in left if "__pycache__" not in path} == {
        "groundswell/watch_list.txt", "groundswell/a.py", "other/b.pyc"
    }  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="shared libraries of Linux")
def test_a_library_without_its_symbols_is_smaller_and_still_loads(tmp_path: Path) -> None:
    import uvloop

    package = tmp_path / "uvloop"
    shutil.copytree(Path(uvloop.__file__).parent, package)
    (library,) = package.glob("loop.*.so")
    whole = library.read_bytes()
    library.write_bytes(without_symbols(whole))
    assert library.stat().st_size < len(whole) / 2
    assert without_symbols(library.read_bytes()) == library.read_bytes()
    program = "import asyncio, uvloop; uvloop.run(asyncio.sleep(0)); print(uvloop.__file__)"
    said = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert said.stdout.strip() == str(package / "__init__.py")


@pytest.mark.parametrize("other", [b"", b"\x7fELF", b"#!/bin/sh\nexit 0\n" * 9, b"\x7fELF\x01\x01" + bytes(100)])
def test_what_is_no_library_of_64_bits_stays_as_it_is(other: bytes) -> None:
    assert without_symbols(other) == other


def write_elf(path: Path, machine: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\x02\x01" + bytes(12) + machine.to_bytes(2, "little") + bytes(44))


def test_an_image_for_arm_has_no_file_of_another_machine_whatever_its_name(tmp_path: Path) -> None:
    packages = tmp_path / "opt" / "groundswell" / "lib"
    for number in range(LEAST_LIBRARIES + 1):
        write_elf(packages / f"{number}.so", ARM64)
    (packages / "module.pyc").write_bytes(b"code")
    assert check_foreign(tmp_path) == LEAST_LIBRARIES + 1
    write_elf(packages / "a-program", 62)
    with pytest.raises(AssertionError, match="a-program is for machine 62"):
        check_foreign(tmp_path)


def test_an_image_that_has_lost_its_packages_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="only 0"):
        check_foreign(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="another reason comes first")
def test_where_the_image_cannot_be_built_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_test.os, "geteuid", lambda: 0)
    monkeypatch.setattr(image_test.shutil, "which", lambda tool: None if tool == "buildah" else f"/usr/bin/{tool}")
    assert image_test.missing().startswith("buildah not found") or "x86-64" in image_test.missing()
    monkeypatch.setattr(image_test.os, "geteuid", lambda: 1000)
    assert "root" in image_test.missing() or "x86-64" in image_test.missing()

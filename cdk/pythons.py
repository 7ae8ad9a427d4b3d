"""A Python of a given version on this machine: modules are compiled by the version that runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

VARIABLE = "FUNCTIONS_PYTHON"
"""Of this machine: the interpreter to take where it is nowhere that this looks."""
_KEPT_BY = (".pyenv/versions/{0}.*/bin/python{0}", ".local/share/uv/python/cpython-{0}.*/bin/python{0}")
"""Where pyenv and uv keep interpreters, below the home folder."""


@cache
def find(version: str) -> str | None:
    """Return a Python of this version, such as 3.13; None where there is none.

    The one that `VARIABLE` names comes first, then the one that runs this, those on the path, of pyenv, and of uv.
    """
    return next((path for path in _candidates(version) if _version_of(path) == version), None)


def _candidates(version: str) -> Iterator[str]:
    if named := os.environ.get(VARIABLE):
        yield named
    yield sys.executable
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if found := shutil.which(f"python{version}", path=folder):
            yield found
    for pattern in _KEPT_BY:
        yield from map(str, sorted(Path.home().glob(pattern.format(version)), reverse=True))


def _version_of(path: str) -> str | None:
    """Return what the interpreter says; None where it does not run, as one of pyenv that is not chosen."""
    try:
        said = subprocess.run(
            [path, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
    except OSError:
        return None
    return said.stdout.strip() if said.returncode == 0 else None

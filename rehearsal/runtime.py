"""The Python that functions are deployed for, with the packages of their zips for this machine."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from cdk import assets

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PLATFORM = f"{platform.machine()}-manylinux_2_34"


def find(version: str) -> str | None:
    """Return a Python of this version: on the path, or one of pyenv."""
    found = shutil.which(f"python{version}")
    # What pyenv puts on the path only works where that version is chosen.
    if found is not None and ".pyenv/shims" not in found:
        return found
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    return str(installed[-1]) if installed else None


def packages(zip_name: str, version: str) -> list[Path]:
    """Return folders with what is in a zip, and with what Lambda's own Python brings."""
    return [*assets.installed(zip_name, PLATFORM, version), assets.runtime(PLATFORM, version)]

"""The packages of the functions' zips, for this machine: what runs under the Python that functions are deployed for."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

from cdk import assets

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PLATFORM = f"{platform.machine()}-manylinux_2_34"


def alone(python: str, folder: Path) -> str:
    """Return an interpreter that has none of the packages that this machine's has, made in the folder where needed.

    A function that imports what its zip lacks fails on Lambda, and would find it here.
    """
    if not folder.exists():
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")


def packages(zip_name: str, version: str) -> list[Path]:
    """Return folders with what is in a zip, and with what Lambda's own Python brings."""
    return [*assets.installed(zip_name, PLATFORM, version), assets.runtime(PLATFORM, version)]

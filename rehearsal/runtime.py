"""The packages of the functions' zips, for this machine: what runs under the Python that functions are deployed for."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from cdk import assets

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PLATFORM = f"{platform.machine()}-manylinux_2_34"


def packages(zip_name: str, version: str) -> list[Path]:
    """Return folders with what is in a zip, and with what Lambda's own Python brings."""
    return [*assets.installed(zip_name, PLATFORM, version), assets.runtime(PLATFORM, version)]

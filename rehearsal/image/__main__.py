"""`python -m rehearsal.image`: build the relay's image as it is, run it as it is deployed, and print what passed.

Without the tools for it, it prints what is missing and ends with 0. Everything is mounted in a namespace of its own and
lies in a temporary folder, so nothing is left behind; the stand-in for the base image is kept in build/.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rehearsal.deploying import ROOT
from rehearsal.image.acts import FAILED, check_foreign, rehearse
from rehearsal.image.base import PYTHON, make_base, make_foreign_base, python_prefix
from rehearsal.image.building import HERE, Builder, BuildFailed

TOOLS = ("buildah", "debootstrap", "unshare", "setpriv", "ldd")
IN_A_NAMESPACE = ("unshare", "--mount", "--propagation", "private")
OWN_NAMESPACE = "--in-own-namespace"
FOREIGN = "arm64"
LIMIT_S = 1800
MOST_MEGABYTES = 213.0
"""What the installed packages may weigh; docs/deploy.md says what does."""


def missing() -> str:
    """Why the image cannot be built on this machine; empty if it can."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "it is built on Linux on x86-64"
    if os.geteuid() != 0:
        return "mounting and chroot need root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} not found: apt-get install buildah debootstrap util-linux"
    tried = subprocess.run([*IN_A_NAMESPACE, "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        return f"this machine makes no mount namespace: {tried.stderr.strip()}"
    if python_prefix() is None:
        return f"no Python {PYTHON} of its own folder found: uv python install {PYTHON}"
    return ""


class NoBase(Exception):
    """What the image is built on cannot be made here: the mirror of the distribution is out of reach, for one."""


def _end_of(output: bytes | None) -> str:
    return "" if output is None else output[-1000:].decode(errors="replace")


def _tell(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)  # noqa: T201


def build_and_run(folder: Path) -> None:
    """Raises NoBase where it cannot begin; BuildFailed and AssertionError with what did not hold."""
    prefix = python_prefix()
    assert prefix is not None
    base = ROOT / "build" / "image" / f"base-{prefix.name}.tar"
    if not base.exists():
        _tell("Making what stands for python:3.13-slim: debootstrap takes a minute")
        try:
            make_base(base, prefix, folder)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise NoBase(f"no base could be made: {error}\n{_end_of(error.stdout)}") from error
    foreign = folder / "foreign.tar"
    make_foreign_base(foreign, folder)
    builder = Builder(folder)
    builder.add_base(base, HERE)
    builder.add_base(foreign, FOREIGN)
    _tell("Building relay_container/Dockerfile")
    printed = builder.build(HERE)
    sizes = [line for line in printed.splitlines() if line.endswith(" MB")]
    print("\n".join(sizes))  # noqa: T201
    assert float(sizes[-1].split()[-2]) <= MOST_MEGABYTES, f"more than {MOST_MEGABYTES} MB of packages"
    asyncio.run(rehearse(builder.mounted(HERE), builder.settings(HERE), folder, _tell))
    _tell("Building for arm64, without running anything of it")
    builder.build(FOREIGN)
    assert builder.settings(FOREIGN)["Architecture"] == FOREIGN
    _tell(f"✓ {check_foreign(builder.mounted(FOREIGN))} programs and libraries, all for arm64")


def main() -> int:
    reason = missing()
    if reason:
        _tell(f"The image is not rehearsed: {reason}")
        return 0
    if OWN_NAMESPACE not in sys.argv:
        again = [sys.executable, "-m", "rehearsal.image", OWN_NAMESPACE]
        return subprocess.run(["timeout", str(LIMIT_S), *IN_A_NAMESPACE, *again], check=False, cwd=ROOT).returncode
    with tempfile.TemporaryDirectory(prefix="groundswell-image-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        try:
            build_and_run(Path(folder))
        except NoBase as error:
            _tell(f"The image is not rehearsed: {error}")
            return 0
        except (BuildFailed, *FAILED) as error:
            _tell(f"✗ {type(error).__name__}: {error}")
            return 1
        finally:
            _unmount(Path(folder))
    _tell("Everything held")
    return 0


def _unmount(folder: Path) -> None:
    """Unmount what is mounted below a folder, so that it can be removed; last mounted first."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
    for path in reversed([each for each in mounted if each.startswith(f"{folder}/")]):
        subprocess.run(["umount", "--lazy", path], check=False)


BEGAN = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())

"""What stands for `python:3.13-slim`: a minimal Debian with this machine's Python 3.13 in /usr/local.

The Python is linked to libraries of this machine, so the Debian (or Ubuntu) is of the same release. Of an architecture
that this machine does not have only the folders are there: nothing of it is ever run.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

PYTHON = "3.13"
DEBOOTSTRAP_LIMIT_S = 600
_LEFT_OUT = {"test", "idlelib", "tkinter", "turtledemo", "__pycache__"}


def python_prefix() -> Path | None:
    """Where a Python 3.13 is installed that can be copied: a folder of its own, not the system's."""
    home = Path.home()
    folders = [
        *sorted((home / ".pyenv" / "versions").glob(f"{PYTHON}.*"), reverse=True),
        *sorted((home / ".local" / "share" / "uv" / "python").glob(f"cpython-{PYTHON}.*"), reverse=True),
        Path("/usr/local"),
    ]
    for prefix in folders:
        if (prefix / "lib" / f"python{PYTHON}" / "site-packages" / "pip").is_dir():
            return prefix
    return None


def make_base(target: Path, prefix: Path, work: Path) -> None:
    """Pack the stand-in for this machine's architecture into a tar file.

    Raises:
        subprocess.CalledProcessError, subprocess.TimeoutExpired: debootstrap failed.
    """
    root = work / "base"
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    subprocess.run(
        ["debootstrap", "--variant=minbase", release, str(root)],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEBOOTSTRAP_LIMIT_S,
    )  # fmt: skip
    local = root / "usr" / "local"
    for wanted in ("bin", "lib"):
        (local / wanted).mkdir(parents=True, exist_ok=True)
    for name in ("python3", f"python{PYTHON}", "pip"):
        shutil.copy2(prefix / "bin" / name, local / "bin" / name, follow_symlinks=True)
    (local / "bin" / "pip").write_text(
        f"#!/usr/local/bin/python{PYTHON}\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n",
        "utf-8",
    )
    (local / "bin" / "python").symlink_to("python3")
    shutil.copytree(
        prefix / "lib" / f"python{PYTHON}",
        local / "lib" / f"python{PYTHON}",
        ignore=lambda _, names: _LEFT_OUT & set(names),
        dirs_exist_ok=True,
    )
    for library in (prefix / "lib").glob("libpython3*.so*"):
        shutil.copy2(library, local / "lib" / library.name)
    for library in _libraries(prefix):
        if not (root / library.relative_to("/")).exists():
            shutil.copy2(library, local / "lib" / library.name)
    subprocess.run(["chroot", str(root), "/sbin/ldconfig"], check=True)
    for waste in (root / "var" / "cache" / "apt" / "archives", root / "var" / "lib" / "apt" / "lists"):
        shutil.rmtree(waste, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".part")
    with tarfile.open(unfinished, "w") as packed:
        packed.add(root, ".")
    unfinished.replace(target)
    shutil.rmtree(root)


def _libraries(prefix: Path) -> set[Path]:
    """The system's libraries that this Python and its own modules are linked to."""
    modules = [
        path
        for path in (prefix / "lib" / f"python{PYTHON}" / "lib-dynload").glob("*.so")
        if not path.name.startswith("_tkinter")
    ]
    said = subprocess.run(
        ["ldd", str(prefix / "bin" / f"python{PYTHON}"), *map(str, modules)], check=True, capture_output=True, text=True
    ).stdout
    return {Path(each) for each in re.findall(r"=> (/\S+)", said) if not each.startswith(str(prefix))}


def make_foreign_base(target: Path, work: Path) -> None:
    """Pack the folders that the last stage of the Dockerfile copies into."""
    root = work / "foreign"
    for folder in ("etc", "opt", "usr/local/bin", "var/lib"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    with tarfile.open(target, "w") as packed:
        packed.add(root, ".")
    shutil.rmtree(root)

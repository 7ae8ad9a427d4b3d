"""Builds with Debian's buildah: chroot isolation, a store of its own, nothing pulled from a registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from rehearsal.deploying import ROOT

BASE = "docker.io/library/python:3.13-slim"
"""What the Dockerfile is built on; here a list of stand-ins, one for each architecture."""
HERE = "amd64"
"""The architecture that builds."""
BUILD_LIMIT_S = 900
CERTIFICATES = Path("/etc/ssl/certs")


class BuildFailed(Exception):
    """A command of buildah failed; the message has the end of what it printed."""


class Builder:
    """Images in a folder. What is mounted there is gone with the mount namespace of this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._driver = "overlay" if _overlay_works(folder) else "vfs"
        # The machine's certificates are believed: it may reach the package index through a proxy of its own.
        self._uv = folder / "uv.toml"
        self._uv.write_text("system-certs = true\n", "utf-8")

    def add_base(self, packed: Path, architecture: str) -> None:
        """Make a base image of a packed root, under the name that the Dockerfile begins with."""
        container = self._run("from", "scratch").strip()
        self._run("add", "--quiet", container, str(packed), "/")
        path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        self._run("config", "--arch", architecture, "--os", "linux", "--env", f"PATH={path}", container)
        self._run("commit", "--quiet", "--rm", container, f"localhost/base-{architecture}")
        if not self._exists(BASE):
            self._run("manifest", "create", BASE)
        self._run("manifest", "add", "--arch", architecture, "--os", "linux", BASE, f"localhost/base-{architecture}")

    def build(self, architecture: str) -> str:
        """Build the Dockerfile as it is. Returns what the build printed.

        BuildKit sets `BUILDPLATFORM` by itself; Debian's buildah does not yet.
        """
        return self._run(
            "build", "--isolation", "chroot", "--format", "docker", "--pull-never", "--layers",
            "--platform", f"linux/{architecture}", "--build-arg", f"BUILDPLATFORM=linux/{HERE}",
            "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--volume", f"{self._uv}:/etc/uv/uv.toml:ro",
            "--file", "relay_container/Dockerfile", "--tag", f"localhost/relay-{architecture}", ".",
        )  # fmt: skip

    def settings(self, architecture: str) -> dict[str, Any]:
        """The image's own configuration: user, environment, command, health check, volumes."""
        said = json.loads(self._run("inspect", "--type", "image", f"localhost/relay-{architecture}"))
        return {**said["Docker"]["config"], "Architecture": said["Docker"]["architecture"]}

    def mounted(self, architecture: str) -> Path:
        """The image's root, mounted."""
        container = self._run("from", "--pull-never", f"localhost/relay-{architecture}").strip()
        return Path(self._run("mount", container).strip())

    def _exists(self, name: str) -> bool:
        return subprocess.run([*self._command, "manifest", "exists", name], check=False).returncode == 0

    @property
    def _command(self) -> list[str]:
        return [
            "buildah", "--storage-driver", self._driver,
            "--root", str(self._folder / "images"), "--runroot", str(self._folder / "run"),
        ]  # fmt: skip

    def _run(self, *words: str) -> str:
        said = subprocess.run(
            [*self._command, *words], check=False, capture_output=True, text=True, cwd=ROOT, timeout=BUILD_LIMIT_S,
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder), "TMPDIR": str(self._folder)},
        )  # fmt: skip
        if said.returncode:
            raise BuildFailed(f"buildah {words[0]} failed:\n{(said.stdout + said.stderr)[-3000:]}")
        return said.stdout


def _overlay_works(folder: Path) -> bool:
    """Whether this kernel stacks folders here; inside another container it may not."""
    parts = {name: folder / f"try-{name}" for name in ("lower", "upper", "work", "merged")}
    for part in parts.values():
        part.mkdir()
    options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    tried = subprocess.run(
        ["mount", "-t", "overlay", "-o", options, "overlay", str(parts["merged"])], check=False, capture_output=True
    )
    if tried.returncode == 0:
        subprocess.run(["umount", str(parts["merged"])], check=True)
    for part in parts.values():
        shutil.rmtree(part, ignore_errors=True)
    return tried.returncode == 0

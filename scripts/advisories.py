"""Known vulnerabilities of what the locks pin: `python -m scripts.advisories`.

It asks the advisory services of PyPI (through pip-audit) and of npm. Where one cannot be reached it is skipped, and why
is said: a machine without the internet must not fail, and must not claim that nothing is known. Exits with 1 where
something is known that `ACCEPTED` does not name.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

PYTHON_LOCKS = ("requirements.lock", "requirements-up.lock", "relay_container/requirements.lock")
NPM_LOCKS = ("web", "cdk")
PROBE = "https://pypi.org/pypi/pip/23.0/json"
"""What pip-audit asks, of a version that has vulnerabilities. It repeats what fails, and takes an index that knows no
version for one that knows no vulnerability; so this is asked once before."""
PROBE_LIMIT_S = 4
AUDIT_LIMIT_S = 300

ACCEPTED: Mapping[str, str] = {}
"""Advisories that do not concern us, by their id, and why."""


class Unreachable(Exception):
    """The advisory service gave no answer; the text says what came instead."""


@dataclass(frozen=True, order=True)
class Advisory:
    """A vulnerability of a pinned package."""

    package: str
    version: str
    id: str
    remedy: str


def read_pip_audit(output: str) -> list[Advisory]:
    """Return what `pip-audit --format json` printed.

    Raises:
        Unreachable: it is no such document, or a package in it was not checked.
    """
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        raise Unreachable(_first_line(output)) from None
    unchecked = [package for package in packages if "skip_reason" in package]
    if unchecked:
        raise Unreachable(f"{len(unchecked)} of {len(packages)} packages: {unchecked[0]['skip_reason']}")
    return [
        Advisory(
            package["name"],
            package["version"],
            found["id"],
            f"fixed in {', '.join(found['fix_versions'])}" if found["fix_versions"] else "no fix yet",
        )
        for package in packages
        for found in package.get("vulns", ())
    ]


def read_npm_audit(output: str) -> list[Advisory]:
    """Return what `npm audit --json` printed. Raises Unreachable where that is no report."""
    try:
        packages: Mapping[str, Any] = json.loads(output)["vulnerabilities"]
    except (ValueError, KeyError, TypeError):
        raise Unreachable(_first_line(output)) from None
    return [
        Advisory(
            via["name"],
            via["range"],
            via["url"].rpartition("/")[2],
            "fix: npm audit fix" if entry["fixAvailable"] else "no fix yet",
        )
        for entry in packages.values()
        for via in entry["via"]
        if not isinstance(via, str)  # a name stands for the entry of that package
    ]


def ask_pypi(lock: str) -> list[Advisory]:
    """Ask about each pin of a lock. Raises Unreachable."""
    try:
        with urllib.request.urlopen(PROBE, timeout=PROBE_LIMIT_S) as answer:
            if not json.loads(answer.read())["vulnerabilities"]:
                raise Unreachable("this index knows no vulnerability of a version that has several")
    except (OSError, ValueError, KeyError) as error:
        raise Unreachable(str(error)) from None
    return read_pip_audit(
        _output(
            [str(BIN / "pip-audit"), "--requirement", lock, "--disable-pip", "--require-hashes", "--format", "json"]
            + ["--progress-spinner", "off", "--timeout", "10"],
            ROOT,
        )
    )


def ask_npm(folder: str) -> list[Advisory]:
    """Ask about each package of a folder's lock. Raises Unreachable."""
    command = [str(BIN / "npm"), "audit", "--json", "--fetch-retries=0", "--fetch-timeout=5000"]
    return read_npm_audit(_output(command, ROOT / folder))


def _output(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=AUDIT_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"no answer within {AUDIT_LIMIT_S} s") from None
    return done.stdout or done.stderr


def _first_line(output: str) -> str:
    try:
        return str(json.loads(output)["message"])
    except (ValueError, KeyError, TypeError):
        return output.strip().partition("\n")[0][:200] or "an empty answer"


def check(questions: Mapping[str, Callable[[], list[Advisory]]]) -> Iterator[tuple[str, bool]]:
    """Ask each question; yield a line for each, and whether it is bad."""
    for name, ask in questions.items():
        try:
            found = ask()
        except Unreachable as reason:
            yield f"{name}: skipped, the advisory service gave no answer: {reason}", False
            continue
        bad = sorted({advisory for advisory in found if advisory.id not in ACCEPTED})
        accepted = len(set(found)) - len(bad)
        yield f"{name}: {len(bad)} known vulnerabilities{f', {accepted} accepted' if accepted else ''}", False
        for advisory in bad:
            yield f"  {advisory.package} {advisory.version}: {advisory.id}, {advisory.remedy}", True


def main() -> int:
    questions: dict[str, Callable[[], list[Advisory]]] = {}
    for lock in PYTHON_LOCKS:
        questions[lock] = lambda lock=lock: ask_pypi(lock)
    for folder in NPM_LOCKS:
        questions[f"{folder}/package-lock.json"] = lambda folder=folder: ask_npm(folder)
    known = False
    for line, bad in check(questions):
        print(line)
        known |= bad
    return int(known)


if __name__ == "__main__":
    sys.exit(main())

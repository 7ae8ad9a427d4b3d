"""Compile modules before they are deployed: a process that cannot write beside its code compiles them at each start.

`python -m deployment.bytecode FOLDER [OWN …]` compiles for the Python that runs it. It needs nothing but that Python.
"""

from __future__ import annotations

import compileall
import py_compile
import sys
from collections.abc import Collection
from pathlib import Path


class NotCompiled(Exception):
    """A module of ours cannot be compiled; the text names its folder."""


def compile_modules(folder: Path, *, own: Collection[str] = (), workers: int = 1) -> None:
    """Compile every module of a folder that is on the path.

    The compiled file is used without a look at the source: it is deployed with it, or in its place.

    Args:
        own: names in the folder that are ours: they keep their sources, which tracebacks and migrations need. Of other
            packages only the compiled modules stay.
        workers: processes; 0 for one for each core. Only 1 gives the same bytes each time.

    Raises:
        NotCompiled: a module of ours has an error. One of a package stays as it is.
    """
    never_stale = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for each in sorted(folder.iterdir()):
        is_own = each.name in own
        if each.is_dir():
            done = compileall.compile_dir(
                each,
                maxlevels=30,
                quiet=2,
                legacy=not is_own,
                workers=workers,
                stripdir=str(folder),
                invalidation_mode=never_stale,
            )
        elif each.suffix == ".py":
            done = compileall.compile_file(
                each, quiet=2, legacy=not is_own, stripdir=str(folder), invalidation_mode=never_stale
            )
        else:
            continue
        if is_own and not done:
            raise NotCompiled(f"a module in {each} has an error: Python {sys.version.split()[0]} cannot compile it")
    for source in folder.rglob("*.py"):
        if source.relative_to(folder).parts[0] not in own and source.with_suffix(".pyc").exists():
            source.unlink()


if __name__ == "__main__":
    compile_modules(Path(sys.argv[1]), own=sys.argv[2:])

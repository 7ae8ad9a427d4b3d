"""Makes .venv with everything in a lock: `python scripts/set_up.py LOCK`.

Run by `make`; needs nothing but Python, of any version, to say more.
"""

import os
import shutil
import subprocess
import sys
import time
from typing import NoReturn

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
BIN = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin")
PYTHON = os.path.join(BIN, "python")
UV = os.path.join(BIN, "uv")


def main(lock: str) -> None:
    if sys.version_info < (3, 11):
        stop(
            "Groundswell needs Python 3.11 or newer; %s is %s." % (sys.executable, sys.version.split()[0]),
            "Install a newer one, or name it: make up PYTHON=/path/to/python3.13",
        )
    if not works([PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]):
        shutil.rmtree(VENV, ignore_errors=True)
        run(
            "Making .venv with Python %s" % sys.version.split()[0],
            [sys.executable, "-m", "venv", VENV],
            on_failure=NO_VENV,
        )
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    run("Installing the installer", pip + ["-r", "requirements-bootstrap.lock"])
    uv = [UV, "pip", "install", "--quiet", "--python", PYTHON]
    label = "Installing the %d packages of %s" % (count(lock), lock)
    # pip knows index settings that uv does not read, so it gets the second try.
    if not attempt(label, uv + ["--require-hashes", "-r", lock]):
        run("%s with pip" % label, pip + ["-r", lock])
    run("Installing Groundswell itself", uv + ["--no-deps", "--no-build-isolation", "--editable", "."])


NO_VENV = (
    "Python could not make a virtual environment. On Debian and Ubuntu the part for it is a package of its own:"
    "\n  apt install python3-venv\nThen run make again."
)


def count(lock: str) -> int:
    with open(os.path.join(ROOT, lock)) as lines:
        return sum(1 for line in lines if "==" in line)


def works(command: "list[str]") -> bool:
    try:
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def attempt(label: str, command: "list[str]") -> bool:
    """Whether it worked; says how long it took, or shows what the command said."""
    started = time.time()
    said = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    mark = "+" if said.returncode == 0 else "!"
    print("%s %s (%.1f s)" % (mark, label, time.time() - started), flush=True)
    if said.returncode:
        sys.stdout.write(said.stdout.decode(errors="replace"))
    return said.returncode == 0


def run(
    label: str,
    command: "list[str]",
    on_failure: str = "The output above says why. Mend that and run make again; nothing is half done.",
) -> None:
    if not attempt(label, command):
        stop("%s did not work." % label, on_failure)


def stop(what: str, remedy: str) -> "NoReturn":
    sys.exit("%s\n%s" % (what, remedy))


main(sys.argv[1])

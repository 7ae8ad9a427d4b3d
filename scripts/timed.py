"""Runs a command in a folder and says one line about it; what the command said only when it fails.

Usage: timed.py LABEL FOLDER COMMAND [ARGUMENT …]
"""

import os
import subprocess
import sys
import time

label, folder, *command = sys.argv[1:]
command[0] = os.path.abspath(command[0])
started = time.time()
said = subprocess.run(command, check=False, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
print("%s %s (%.1f s)" % ("!" if said.returncode else "+", label, time.time() - started), flush=True)
if said.returncode:
    lines = said.stdout.decode(errors="replace").splitlines()
    shown = lines if len(lines) <= 40 else lines[:20] + ["[...]"] + lines[-20:]
    print("\n".join(shown))
sys.exit(said.returncode)

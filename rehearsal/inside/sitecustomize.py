"""What a rehearsed process loads before anything else: names of AWS lead to this machine.

REHEARSAL_HOSTS: `name=port` pairs, separated by commas. REHEARSAL_IMPORTS: a file to which the name of every top-level
module is appended when it is first asked for.
"""

import os
import socket
import sys
import types

_ports = dict(pair.split("=", 1) for pair in os.environ.get("REHEARSAL_HOSTS", "").split(",") if pair)
_real = socket.getaddrinfo


def _getaddrinfo(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name in _ports:
        return _real("127.0.0.1", int(_ports[name]), *args, **kwargs)
    return _real(host, port, *args, **kwargs)


if _ports:
    socket.getaddrinfo = _getaddrinfo
    # uvloop resolves names by itself, past Python: asyncio's own loop takes its place.
    sys.modules["uvloop"] = types.ModuleType("uvloop")
    sys.modules["uvloop"].new_event_loop = lambda: __import__("asyncio").new_event_loop()

_asked: set[str] = set()


def _note(event, arguments):
    if event != "import":
        return
    name = arguments[0].partition(".")[0]
    if name not in _asked:
        _asked.add(name)
        with open(_imports, "a") as noted:  # noqa: PTH123 -- nothing more is imported here than there has to be
            noted.write(f"{name}\n")


_imports = os.environ.get("REHEARSAL_IMPORTS", "")
if _imports:
    sys.addaudithook(_note)

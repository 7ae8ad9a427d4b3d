"""`python -m groundswell.adapters.encoder`: the process that loads a neural model and embeds with it.

Requests come on standard input and replies go to the pipe that was standard output; it ends when its input closes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from groundswell.adapters.encoder import cuda, wire

NICENESS = 5
"""The relay and the API go first."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="groundswell.adapters.encoder", description=__doc__)
    parser.add_argument(
        "--preload", action="append", default=[], metavar="MODULE", help="imported before anything else"
    )
    arguments = parser.parse_args()
    # Libraries print; the replies are alone on their pipe.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _behave()
    for module in arguments.preload:
        importlib.import_module(module)
    _serve(sys.stdin.buffer, replies)
    return 0


def _behave() -> None:
    # Ctrl-C goes to the whole group; what ends this process is its parent closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":
        os.nice(NICENESS)


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    from groundswell.adapters.encoder.models import Model, ModelFailed

    model: Model | None = None
    decoder: msgspec.msgpack.Decoder[wire.Request] = msgspec.msgpack.Decoder(wire.Request)
    while len(header := requests.read(wire.HEADER_BYTES)) == wire.HEADER_BYTES:
        request = decoder.decode(requests.read(int.from_bytes(header, "big")))
        try:
            if isinstance(request, wire.Probe):
                reply: wire.Reply = wire.Probed(cuda.probe())
            elif isinstance(request, wire.Load):
                if request.memory_bytes is not None:
                    _limit_memory(request.memory_bytes)
                model = Model.load(request)
                reply = wire.Loaded(model.dimensions, model.precision, model.source)
                _fall_silent()
            else:
                assert model is not None
                reply = wire.Embedded(model.embed(request.texts, question=request.question).tobytes())
        except ModelFailed as error:
            reply = wire.Failed(str(error))
        except MemoryError:
            reply = wire.Failed("the memory that it may take was not enough")
        replies.write(wire.frame(reply))
        replies.flush()


def _limit_memory(limit: int) -> None:
    """Cap what it may allocate; the files it maps and the code it runs do not count."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _fall_silent() -> None:
    """What libraries print while loading explains a crash; after that nobody reads it, and it must not add up."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


if __name__ == "__main__":
    sys.exit(main())

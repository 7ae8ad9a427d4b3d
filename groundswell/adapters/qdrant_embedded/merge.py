"""`python -m groundswell.adapters.qdrant_embedded.merge TARGET PART...`: make one shard of several, oldest first.

A process of its own, as `optimize` is. The parts are copies that nobody else uses; `TARGET` lies beside the manifest of
its collection. A point that is in two parts is taken from the later one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import qdrant_edge as edge

from groundswell.adapters.qdrant_embedded.collection import MANIFEST, Manifest
from groundswell.adapters.qdrant_embedded.optimize import end_with_parent, yield_to_everyone
from groundswell.adapters.qdrant_embedded.shard import Shard

PAGE = 1_000
"""Points that this process holds at a time."""


def main(target: Path, parts: list[Path]) -> None:
    end_with_parent()
    yield_to_everyone()
    schema = msgspec.json.decode((target.parent / MANIFEST).read_bytes(), type=Manifest).schema
    merged = Shard.create(target, schema)
    for part in parts:
        source = Shard.load(part, schema)
        _take_over(source, merged)
        source.close()
        merged.flush()
    merged.remember_ids()
    merged.handle.optimize()
    merged.flush()
    merged.close()


def _take_over(source: Shard, merged: Shard) -> None:
    offset: Any = None
    while True:
        page = edge.ScrollRequest(offset=offset, limit=PAGE, with_payload=True, with_vector=True)
        records, offset = source.handle.scroll(page)
        points = [edge.Point(record.id, record.vector or {}, record.payload) for record in records]
        if points:
            merged.upsert([int(str(record.id)) for record in records], points)
        if offset is None:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(part) for part in sys.argv[2:]])

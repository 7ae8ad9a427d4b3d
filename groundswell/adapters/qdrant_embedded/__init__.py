"""An embedded Qdrant: a process that speaks the part of Qdrant's REST API which Groundswell uses, over qdrant-edge."""

from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant, RunningEngine, running_engine

__all__ = ["EmbeddedQdrant", "RunningEngine", "running_engine"]

"""A simulated social network: the demo's feed, and the oracle of the tests.

`World` tells every second of it as a pure function of `WorldConfig`; `SimulatorServer` serves it over a real WebSocket
in Jetstream's wire formats, as one `Host` or another sees it, with `Faults` on demand; `truth` says what a reader who
missed nothing has stored.
"""

from groundswell.adapters.simulator.config import Surge, WorldConfig
from groundswell.adapters.simulator.faults import Fault, Faults
from groundswell.adapters.simulator.host import Host, Resync
from groundswell.adapters.simulator.server import SimulatorServer, Span
from groundswell.adapters.simulator.truth import TruePost, Truth, truth
from groundswell.adapters.simulator.vocabulary import WATCH_NAMES
from groundswell.adapters.simulator.world import Mark, Second, World

__all__ = [
    "WATCH_NAMES",
    "Fault",
    "Faults",
    "Host",
    "Mark",
    "Resync",
    "Second",
    "SimulatorServer",
    "Span",
    "Surge",
    "TruePost",
    "Truth",
    "World",
    "WorldConfig",
    "truth",
]

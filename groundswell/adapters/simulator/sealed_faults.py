"""What goes wrong between a sealed feed and its reader, besides all that can go wrong with any stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal, TypeAlias

from groundswell.adapters.simulator.faults import Faults

Place: TypeAlias = Literal["challenge", "session", "stream"]
_REMEMBERED = 256


class SealedFaults(Faults):
    """Every method takes effect at once. Shares are of frames, and independent of each other."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._lost_share = 0.0
        self._corrupt_share = 0.0
        self._replayed_share = 0.0
        self._past: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._refusing_at: Place | None = None
        self.wrong_key = False
        """Seal with keys that were not handed out."""
        self.revoked = False
        """No wallet is let in any more."""
        self.silent_keys = False
        """Do not announce the next key: a reader learns it with its next session."""
        self.lost = 0
        """Frames that were sent and never arrived, or not as they were: those in resends are counted again."""

    def lose(self, share: float = 0.1) -> None:
        """Let this share of frames vanish on the way, which leaves holes in the sequence."""
        self._lost_share = share

    def corrupt(self, share: float = 0.1) -> None:
        """Flip a bit in the tag of this share of frames."""
        self._corrupt_share = share

    def replay(self, share: float = 0.1) -> None:
        """Before this share of frames send an old one again, byte for byte."""
        self._replayed_share = share

    def refuse(self, status: int = 503, *, times: int | None = None, at: Place | None = None) -> None:
        """As any stream's, and at one place alone where it is given."""
        super().refuse(status, times=times)
        self._refusing_at = at

    def refused_at(self, place: Place) -> int | None:
        """The HTTP status to refuse this request with."""
        if self._refusing_at not in (None, place):
            return None
        return self.refusal()

    def calm(self) -> None:
        super().calm()
        self.lose(0)
        self.corrupt(0)
        self.replay(0)
        self.wrong_key = self.revoked = self.silent_keys = False

    @property
    def shaping(self) -> bool:
        return super().shaping or bool(self._lost_share or self._corrupt_share or self._replayed_share)

    def shape(self, wires: Sequence[bytes]) -> list[bytes]:
        arriving: list[bytes] = []
        for wire in wires:
            if self._past and self._draw() < self._replayed_share:
                arriving.append(self._past[int(self._draw() * len(self._past))])
            self._past.append(wire)
            if self._draw() < self._lost_share:
                self.lost += 1
            elif self._draw() < self._corrupt_share:
                self.lost += 1
                arriving.append(wire[:-1] + bytes((wire[-1] ^ 1,)))
            else:
                arriving.append(wire)
        return super().shape(arriving)

"""Whether honest peers keep to valid events, whatever liars make."""

from __future__ import annotations

import struct

from ..core.wire import FrameType, event_digest, header_of
from .checker import Checker
from .cluster import Node
from .history import Place

__all__ = ["NoInvalid", "parents_of"]

_COUNTS, _COUNTS_AT = struct.Struct("<HH"), 97  # of parents and items, in an EVENT frame
_PARENTS_AT, _PARENT_BYTES, _DIGEST_BYTES = 101, 42, 32  # a digest is the last part of a parent
_EVENT = int(FrameType.EVENT)


class NoInvalid(Checker):
    """No honest peer accepts an event that a liar made against the rules (V2 to V5, F4).

    A liar that does so says it in `cluster.invalid`. Whoever builds on such an event has accepted it, and whoever hands
    it on, as peers serve what is in their graph and nothing else.
    """

    def made(self, node: Node, creator: int, round: int, created_at: int, frame: bytes) -> None:
        """It builds on valid events."""
        if self.cluster.invalid:
            for digest in parents_of(frame):
                self._compare(node.number, digest, f"its event of round {round} has as a parent")

    def handed(self, node: Node, frame: bytes) -> None:
        """It hands on valid events."""
        if self.cluster.invalid and frame[0] == _EVENT:
            self._compare(node.number, event_digest(header_of(frame)), "it hands on")

    def ordered(self, place: Place) -> None:
        """It orders valid events."""
        self._compare(place.node, place.hash, f"at index {place.index} stands")

    def _compare(self, number: int, digest: bytes, where: str) -> None:
        invalid = self.cluster.invalid.get(digest)
        if invalid is not None:
            raise self.violated(number, f"{where} {invalid}")


def parents_of(frame: bytes) -> list[bytes]:
    """The digests of an event's parents in an EVENT frame of an honest peer."""
    count = _COUNTS.unpack_from(frame, _COUNTS_AT)[0]
    ends = range(_PARENTS_AT + _PARENT_BYTES, _PARENTS_AT + _PARENT_BYTES * count + 1, _PARENT_BYTES)
    return [frame[end - _DIGEST_BYTES : end] for end in ends]

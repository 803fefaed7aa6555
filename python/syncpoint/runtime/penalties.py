"""How long a key from which junk came is kept out."""

from __future__ import annotations

__all__ = ["Penalties"]

FIRST_PENALTY_S, MAX_PENALTY_S = 1.0, 60.0  # doubled each time
FORGIVEN_AFTER_S = 300.0  # after the end of a penalty, without another


class Penalties:
    """For each key, until when no link with it is wanted; times are in s, on any clock that does not go back.

    Keys, as a number may be given to somebody else.
    """

    def __init__(self, shorter: float = 1.0) -> None:
        """`shorter` divides all times; simulations, which last for less than a second, have a reason to."""
        self._shorter = shorter
        self._until: dict[bytes, tuple[float, float]] = {}  # key -> (end, how long it was)

    def punish(self, key: bytes, now: float) -> bool:
        """It sent what no honest peer sends; whether that was news."""
        forgiven = FORGIVEN_AFTER_S / self._shorter
        self._until = {each: past for each, past in self._until.items() if now < past[0] + forgiven}
        end, length = self._until.get(key, (0.0, 0.0))
        if length == 0.0:
            length = FIRST_PENALTY_S / self._shorter
        elif now >= end:
            length = min(2 * length, MAX_PENALTY_S / self._shorter)
        else:  # the rest of what it had sent before it was cut off
            return False
        self._until[key] = (now + length, length)
        return True

    def left(self, key: bytes, now: float) -> float:
        """For how many seconds it is still kept out; 0 when it is not."""
        end, _ = self._until.get(key, (0.0, 0.0))
        return max(0.0, end - now)

"""Tasks that wait in line: first come, first served, and none of them misses its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Line"]


class Line:
    """Where tasks wait until something holds, one after the other.

    A cancelled task leaves the line and the next one moves up, so that nothing is lost with it. A task
    whose condition does not hold yet keeps those behind it waiting: else small ones would pass a large
    one for ever.
    """

    def __init__(self) -> None:
        self._places: deque[_Place] = deque()

    def __bool__(self) -> bool:
        """Whether somebody waits."""
        return bool(self._places)

    async def turn(self, ready: Callable[[], bool]) -> None:
        """Return when everybody who came before is gone and `ready()` holds; what follows must not await first."""
        if not self._places and ready():
            return
        place = _Place(ready)
        self._places.append(place)
        try:
            while self._places[0] is not place or not ready():
                place.called = asyncio.get_running_loop().create_future()
                await place.called
        finally:
            self._places.remove(place)
            # The next one runs after what its predecessor does now, and then asks again.
            self.call()

    def call(self) -> None:
        """Wake the first in line if its condition holds."""
        if self._places:
            place = self._places[0]
            if not place.called.done() and place.ready():
                place.called.set_result(None)


class _Place:
    """One task in the line."""

    __slots__ = ("called", "ready")

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready
        self.called: asyncio.Future[None] = asyncio.get_running_loop().create_future()

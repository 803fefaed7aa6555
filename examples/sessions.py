"""An auction, one session for each lot: state that begins and ends at the same place on all peers.

Every peer runs the same application on the same stream. Where one lot ends and the next begins the network decides, so
a bid that is on its way in that moment counts for one lot, and everywhere for the same.
"""

from __future__ import annotations

import asyncio

from four_peers import four_peers
from syncpoint import Engine, Event, Message, SyncPoint, SyncPointKind

LOTS = ("a lamp", "a clock", "a chair")


class Application:
    """What each peer computes from its stream."""

    def __init__(self) -> None:
        self.protocol: list[str] = []  # of the lots that are sold
        self._begin(LOTS[0])

    def receive(self, message: Message) -> None:
        """Go on by one message."""
        match message:
            case Event():
                for transaction in message.transactions:
                    bidder, amount = transaction.decode().split()
                    self._bid(bidder, int(amount))
            case SyncPoint(kind=SyncPointKind.SESSION):
                self._finalise(message)
                self._begin(message.metadata.decode())
            case SyncPoint(kind=SyncPointKind.END):
                self._finalise(message)

    def _begin(self, lot: str) -> None:
        self._lot, self._bids, self._bidder, self._highest = lot, 0, "nobody", 0

    def _bid(self, bidder: str, amount: int) -> None:
        self._bids += 1
        if amount > self._highest:  # of two equal bids the first in the agreed order stands
            self._bidder, self._highest = bidder, amount

    def _finalise(self, point: SyncPoint) -> None:
        self.protocol.append(
            f"{self._lot}: {self._bidder} for {self._highest}, after {self._bids} bids, closed at index {point.index}"
        )


async def run(engine: Engine) -> Application:
    """Be the application of one peer, until the session has ended."""
    application = Application()
    async for message in engine:
        application.receive(message)
    return application


async def main() -> None:
    """Sell three lots to four bidders."""
    async with four_peers() as (_, engines):
        applications = [asyncio.create_task(run(engine)) for engine in engines]
        for number, lot in enumerate(LOTS):
            print(f"{lot} is on offer: everybody bids, and then all bid 50 at once, just as it is closed")
            await asyncio.gather(*(engine.submit(b"peer%d %d" % (who, who)) for who, engine in enumerate(engines)))
            for who, engine in enumerate(engines):
                await engine.send_transaction(b"peer%d 50" % who)
            if lot != LOTS[-1]:
                await engines[number].propose(SyncPointKind.SESSION, LOTS[number + 1].encode())
            else:
                await asyncio.gather(*(engine.vote_end_session() for engine in engines))
        protocols = [(await application).protocol for application in applications]
    print(*protocols[0], sep="\n")
    assert all(protocol == protocols[0] for protocol in protocols)
    print("all four peers wrote the same protocol")


if __name__ == "__main__":
    asyncio.run(main())

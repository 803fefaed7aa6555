"""Transactions on their way out of the application: who may send when, and what has become final."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .core.config import Network
from .core.input import Input, Submit
from .core.output import Queue
from .core.values import Delivered
from .ending import Ending
from .errors import ArgumentTypeError, QueueFull, TransactionTooLarge
from .message import Receipt
from .options import Options
from .runtime.line import Line

__all__ = ["BytesLike", "Outbox"]

BytesLike = bytes | bytearray | memoryview


class Outbox:
    """Gives transactions to the machine as long as there is room, and resolves receipts.

    There is room while fewer than `Options.transaction_channel_size` transactions are in no event yet and at most
    `Options.max_unacknowledged_bytes` bytes are not final.
    """

    def __init__(self, network: Network, options: Options, post: Callable[[Input], None], ending: Ending) -> None:
        """`post` gives the machine an input."""
        self._network = network
        self._options = options
        self._post_input = post
        self._ending = ending
        self.unacknowledged_bytes = 0  # of transactions that are not final
        self.receipts: dict[int, asyncio.Future[Receipt]] = {}  # that are waited for, by the number of a transaction
        self._senders = Line()
        self._submitted = 0  # transactions given to the machine, which numbers them alike
        self._waiting = 0  # of these, in no event yet
        self._unacknowledged: dict[int, int] = {}  # of those that are not final: number -> bytes

    def check(self, transaction: BytesLike) -> bytes:
        """A copy of what can be sent; raises EngineStopped, ArgumentTypeError or TransactionTooLarge."""
        self._require_running()
        if not isinstance(transaction, bytes | bytearray | memoryview):
            raise ArgumentTypeError(
                f"a transaction is {type(transaction).__name__}: "
                "give bytes, bytearray or memoryview (encode text first)"
            )
        data = bytes(transaction)
        if len(data) > self._network.max_transaction_bytes:
            raise TransactionTooLarge(
                f"a transaction of {len(data)} bytes: this network takes up to {self._network.max_transaction_bytes}; "
                "split it, or set Network(max_payload_bytes=...) higher on all peers"
            )
        if len(data) > self._options.max_unacknowledged_bytes:
            raise TransactionTooLarge(
                f"a transaction of {len(data)} bytes: Options.max_unacknowledged_bytes is "
                f"{self._options.max_unacknowledged_bytes}; set it higher"
            )
        return data

    async def send(self, data: bytes) -> None:
        """Wait for room, and send what was checked; cancelled, it has not been sent."""
        await self._room(len(data))
        self._post(data)

    def try_send(self, data: bytes) -> None:
        """Send what was checked, or raise QueueFull."""
        if self._senders or not self._has_room(len(data)):
            raise QueueFull(
                f"{self._waiting} transactions are queued "
                f"(limit {self._options.transaction_channel_size}) and {self.unacknowledged_bytes} bytes "
                f"are not final (limit {self._options.max_unacknowledged_bytes}): "
                "await send_transaction, or try again after receiving messages"
            )
        self._post(data)

    async def submit(self, data: bytes) -> Receipt:
        """Send what was checked, and wait until it is final."""
        await self._room(len(data))
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        number = self._post(data)
        self.receipts[number] = receipt
        try:
            return await receipt
        finally:
            self.receipts.pop(number, None)

    def delivered(self, done: Delivered) -> None:
        """Our own transactions in an event are final."""
        for position, number in enumerate(done.submissions):
            if number is None:  # sent before a restart: nobody waits for it
                continue
            self.unacknowledged_bytes -= self._unacknowledged.pop(number)
            receipt = self.receipts.pop(number, None)
            if receipt is not None and not receipt.done():
                receipt.set_result(
                    Receipt(
                        index=done.index,
                        position=position,
                        consensus_at=done.consensus_at,
                        hash=done.event.digest,
                    )
                )
        if done.submissions:
            self._senders.call()

    def queue_changed(self, queue: Queue) -> None:
        """Less, or more, waits for an event."""
        self._waiting = queue.transactions
        self._senders.call()

    def end(self) -> None:
        """Nothing that is sent from here on, or waits to be, becomes final by us."""
        self._senders.call()
        for receipt in self.receipts.values():
            if not receipt.done():
                receipt.set_exception(self._ending.exception("before the transaction was final"))
        self.receipts.clear()

    def _has_room(self, size: int) -> bool:
        return (
            self._waiting < self._options.transaction_channel_size
            and self.unacknowledged_bytes + size <= self._options.max_unacknowledged_bytes
        )

    async def _room(self, size: int) -> None:
        """Wait until there is room and it is our turn; what follows must not await before it posts."""
        await self._senders.turn(lambda: not self._ending.is_running or self._has_room(size))
        self._require_running()

    def _post(self, data: bytes) -> int:
        number = self._submitted
        self._submitted += 1
        self._waiting += 1
        self._unacknowledged[number] = len(data)
        self.unacknowledged_bytes += len(data)
        self._post_input(Submit((data,)))
        return number

    def _require_running(self) -> None:
        self._ending.require_running("transactions")

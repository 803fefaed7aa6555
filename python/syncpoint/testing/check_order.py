"""Whether there is one order, with everything in it, once."""

from __future__ import annotations

import struct
from asyncio import CancelledError
from collections.abc import Mapping

from ..core.committee import Committee
from ..core.config import Member
from ..core.crypto import blake3
from ..core.journal import height
from ..core.order import DOMAIN_ORDER
from ..core.status import Status
from ..errors import EngineStopped
from ..message import Event, Message
from .checker import Checker, Observed
from .cluster import Cluster, Node
from .history import Place, Sent, Stream

__all__ = ["Agreement", "Causality", "NoDuplicates", "NoLoss", "TotalOrder", "epoch_id_of"]

_FULL = 16  # one message in so many is compared in everything, not only in what makes the order
_PLACE = struct.Struct("<Q32sQ")
_LENGTH = struct.Struct("<I")
_PAYLOAD_BYTES_AT = 93  # in an EVENT frame


class TotalOrder(Checker):
    """Each stream counts from 0 without a gap, whenever it begins anew (O8)."""

    def out_of_turn(self, stream: Stream, message: Message) -> None:
        """The last index is one less than the number of messages."""
        if stream.last + 1 != stream.count:
            raise self.violated(
                stream.node.number,
                f"message {stream.count} of start {stream.incarnation} has index {stream.last}: {message!r}",
            )


class Agreement(Checker):
    """Whoever receives an index receives the same there (O9), also when its stream begins anew.

    The order hash is computed again besides, so that it does stand for the order; and what machines say of their
    order must fit. With every 16th message everything is compared but `whitened_signature`, which liars can change.
    """

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        self._order_hash = blake3(DOMAIN_ORDER + epoch_id_of(observed.cluster))

    def message(self, stream: Stream, message: Event, place: Place) -> None:
        """Equal to what the first one saw there."""
        done = message._done
        if (
            done.order_hash != place.order_hash
            or done.event.digest != place.hash
            or done.consensus_at != place.consensus_at
        ):
            raise self._differs(stream, message, place)
        if (stream.last + stream.node.number) % _FULL == 0 and (
            height(message.epoch, message.round) != place.round
            or message.created_at != place.created_at
            or message.transactions != place.transactions
            or message.parents != place.parents
            or self.history.creator_of(message) != place.creator
        ):
            raise self._differs(stream, message, place)

    def ordered(self, place: Place) -> None:
        """The order hash is what it must be."""
        if not place.hash:  # a sync point, and nobody looked at the machine: what stands for it is not known
            self._order_hash = place.order_hash
            return
        self._order_hash = blake3(self._order_hash + _PLACE.pack(place.index, place.hash, place.consensus_at))
        if self._order_hash != place.order_hash:
            expected, self._order_hash = self._order_hash, place.order_hash
            raise self.violated(
                place.node,
                f"the order hash at index {place.index} is {place.order_hash.hex()}, but by hash {place.hash.hex()}, "
                f"consensus_at {place.consensus_at} and what came before it is {expected.hex()}",
            )

    def sample(self, statuses: Mapping[int, Status]) -> None:
        """What a machine has delivered ends as the order does at that index."""
        order = self.history.order
        for number, status in statuses.items():
            if 0 < status.delivered <= len(order):
                place = order[status.delivered - 1]
                if status.order_hash != place.order_hash or status.consensus_at != place.consensus_at:
                    raise self.violated(
                        number,
                        f"its machine has delivered {status.delivered} events, up to {status.consensus_at} with order "
                        f"hash {status.order_hash.hex()}; the order there is {_told(place)}",
                    )

    def _differs(self, stream: Stream, message: Event, place: Place) -> Exception:
        return self.violated(
            stream.node.number,
            f"at index {stream.last} it has (start {stream.incarnation}) hash {message.hash.hex()}, consensus_at "
            f"{message.consensus_at}, order hash {message.order_hash.hex()}, creator {message.creator}, round "
            f"{message.round}, created_at {message.created_at}, {message.transaction_count} transactions, parents "
            f"{[parent.hex()[:16] for parent in message.parents]}; the order there is {_told(place)}",
        )


class NoDuplicates(Checker):
    """No event, no slot (O7) and no transaction of an honest peer is delivered twice (O11)."""

    def ordered(self, place: Place) -> None:
        """It is the first with its hash, its slot, and each of its transactions."""
        history, index = self.history, place.index
        if history.index_of[place.hash or place.order_hash] != index:
            raise self.violated(place.node, f"{_told(place)} is at index {history.index_of[place.hash]} already")
        if place.point is not None:
            return
        earlier = history.slots[place.creator, place.round]
        if earlier != index:
            raise self.violated(
                place.node, f"the slot of {_told(place)} has two events: the other is {_told(history.order[earlier])}"
            )
        # A liar may send anything as often as it likes; who forgot what it signed sends it again.
        if place.transactions and place.creator in self.observed.faithful:
            where = history.where[place.creator]
            for position, transaction in enumerate(place.transactions):
                if where[transaction] != (index, position):
                    raise self.violated(
                        place.node,
                        f"{_of(history.sends, transaction)} is at index and position {where[transaction]}, in "
                        f"{_told(history.order[where[transaction][0]])}, and at {index, position}, in {_told(place)}",
                    )


class NoLoss(Checker):
    """What was acknowledged stands where its receipt says; what was refused stands nowhere; the rest arrives (O11).

    At the end whatever an honest peer took must be in the order: if it runs since, or if the transaction was in an
    event that it had sent, and so in its journal (J1, R1). While a machine still has something to deliver this is a
    matter of `Progress`.
    """

    def made(self, node: Node, creator: int, round: int, created_at: int, frame: bytes) -> None:
        """Note which transactions are in events: their creator will not lose them, whatever happens to it."""
        if creator not in self.observed.faithful:
            return
        (payload_bytes,) = _LENGTH.unpack_from(frame, _PAYLOAD_BYTES_AT)
        at, sends = len(frame) - payload_bytes, self.history.sends
        while at < len(frame):
            end = at + 4 + _LENGTH.unpack_from(frame, at)[0]
            sent = sends.get(frame[at + 4 : end])
            if sent is not None:
                sent.signed = True
            at = end

    def confirmed(self, sent: Sent, place: Place | None) -> None:
        """Its transaction is at the index and position of its receipt, in an event of its sender."""
        receipt = sent.receipt
        assert receipt is not None
        if place is None:
            if len(self.history.order) > receipt.index:
                return
            raise self.violated(sent.node, f"{sent} has {receipt}, but the order ends at {len(self.history.order)}")
        at = receipt.position
        if at >= len(place.transactions) or place.transactions[at] != sent.transaction:
            raise self.violated(sent.node, f"{sent} has {receipt}, but there is {_told(place)}")
        if place.creator != self.cluster.nodes[sent.node].creator:
            raise self.violated(sent.node, f"{sent} has {receipt}, but there is an event of another: {_told(place)}")

    def finish(self) -> None:
        """Nothing is missing that no machine knows of any more."""
        for sent, status in self.pending():
            if not status.queued_transactions and not status.undelivered:
                raise self.violated(
                    sent.node,
                    f"{sent} is neither in the order, of {len(self.history.order)} events, nor on its way there",
                )
        for sent in self.history.sends.values():
            if sent.error is None or isinstance(sent.error, EngineStopped | CancelledError):
                continue
            found = self.history.where[self.cluster.nodes[sent.node].creator].get(sent.transaction)
            if found is not None:
                raise self.violated(sent.node, f"{sent} was refused ({sent.error!r}), but is in the order at {found}")

    def pending(self) -> list[tuple[Sent, Status]]:
        """What has to get into the order and is not there, with what its sender's machine says.

        Nothing has to any more once the session has ended (S4).
        """
        if self.history.end is not None:
            return []
        statuses: dict[int, Status | None] = {}
        missing = []
        for sent in self.history.open.values():
            node = self.cluster.nodes[sent.node]
            if not node.up or node.creator not in self.observed.faithful:
                continue
            if sent.incarnation != node.host.starts and not sent.signed:
                continue
            if sent.transaction in self.history.where[node.creator]:
                continue
            if sent.node not in statuses:
                statuses[sent.node] = node.status()
            status = statuses[sent.node]
            if status is not None and status.halted is None:
                missing.append((sent, status))
        return missing


class Causality(Checker):
    """Parents come before their children; a sender's transactions come in the order in which it sent them.

    A parent may be left out for ever (it fell below the floor, O2, or is a second variant, O7), but it never comes
    after its child. A sender that put something into a new event (O11), or that started again, may mix up its own.
    """

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        self._left_out: dict[bytes, int] = {}  # parents that were not there before their child -> its index
        self._last: dict[int, Sent] = {}  # of each host that never restarted, what came last

    def ordered(self, place: Place) -> None:
        """It comes after its parents, before its children, and after what its sender sent before."""
        index_of, index = self.history.index_of, place.index
        child = self._left_out.pop(place.hash, None)
        if child is not None:
            raise self.violated(place.node, f"{_told(place)} comes after its child {_told(self.history.order[child])}")
        for parent in place.parents:
            if parent not in index_of:
                self._left_out.setdefault(parent, index)
        if place.transactions and place.creator in self.observed.faithful:
            self._in_turn(place)

    def _in_turn(self, place: Place) -> None:
        sends = self.history.sends
        for transaction in place.transactions:
            sent = sends.get(transaction)
            if sent is None:
                continue
            node = self.cluster.nodes[sent.node]
            if node.creator != place.creator or node.host.starts != 1:
                continue
            last = self._last.get(sent.node)
            self._last[sent.node] = sent
            if last is None or last.number < sent.number:
                continue
            # `submit` runs a moment after it was called for: at one time the two ways of sending can overtake.
            if last.at_ns == sent.at_ns and last.awaited != sent.awaited:
                continue
            status = node.status()
            if status is not None and status.resubmitted == 0:
                raise self.violated(sent.node, f"{sent} comes after what was sent later: {last}, in {_told(place)}")


def epoch_id_of(cluster: Cluster) -> bytes:
    """By what a cluster's network is known."""
    members = tuple(Member(bytes(peer.public), peer.capabilities.flags) for peer in cluster.peers)
    return Committee.genesis(cluster.network, members, "simulated").epoch_id


def _told(place: Place) -> str:
    if place.point is not None:
        return f"{place.point} (first received by peer {place.node} at {place.at_ns / 1e9:.6f} s)"
    return (
        f"the event at index {place.index} (hash {place.hash.hex()}, consensus_at {place.consensus_at}, order hash "
        f"{place.order_hash.hex()}, creator {place.creator}, round {place.round}, created_at {place.created_at}, "
        f"{len(place.transactions)} transactions, parents {[parent.hex()[:16] for parent in place.parents]}, first "
        f"received by peer {place.node} at {place.at_ns / 1e9:.6f} s)"
    )


def _of(sends: Mapping[bytes, Sent], transaction: bytes) -> str:
    return str(sends.get(transaction, transaction))

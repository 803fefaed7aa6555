"""When to make the next event, and out of what (P1 to P7)."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import wire
from .committee import Committee
from .config import MAX_ITEM_BYTES, MAX_ITEMS, MAX_TRANSACTIONS, Local, Network
from .crypto import DOMAIN_EVENT, Signer, blake3
from .dag import Dag, Node
from .decide import Decider
from .items import is_counted
from .journal import EPOCH_ROUNDS, Position, height
from .late import Late
from .order import Orderer
from .timer import Advance, Timer
from .values import Delivered, Event, Item, ItemType, Parent
from .verify import check_evidence, exposed, with_others

__all__ = ["DOMAIN_SALT", "Made", "Placed", "Proposer", "Queued"]

DOMAIN_SALT = b"syncpoint/salt/v1"
PATIENCE_ROUNDS = 8  # by which decisions may lag before every primary is waited for
MAX_SAID = 4_096  # items that wait for our next events; of more the oldest vote is left out
MAX_EVIDENCE = 4  # items made, and heeded, in one event; the rest goes into the next
# Headers can be blown up by items of their own; a longer proof is not worth its way. V8 protects without it.
MAX_EVIDENCE_BYTES = MAX_ITEM_BYTES // MAX_EVIDENCE


class Queued(NamedTuple):
    """A transaction that waits for an event."""

    transaction: bytes
    number: int | None  # None: submitted before a restart
    source: Position | None = None  # where it stood before, in an own event that will not be delivered (O11)


class Made(NamedTuple):
    """An own event that is to be made durable, and what it takes over from own events of before (O11)."""

    event: Event
    taken_over: tuple[Position, ...]


class Placed:
    """An own event that is not delivered yet, and whose its transactions are."""

    __slots__ = ("event", "numbers", "taken_over")

    def __init__(self, event: Event, numbers: tuple[int | None, ...]) -> None:
        self.event = event
        self.numbers = numbers
        self.taken_over: set[int] = set()  # places of transactions that a later own event carries


class Proposer:
    """Our own events: the queue of transactions, the pace, the parents."""

    def __init__(
        self,
        network: Network,
        committee: Committee,
        local: Local,
        own: int,
        signer: Signer,
        entropy: bytes,
        epoch: int,
        dag: Dag,
        decider: Decider,
        orderer: Orderer,
        timer: Timer,
    ) -> None:
        self.network = network
        self.committee = committee
        self.local = local
        self.own = own
        self.tip: Node | None = None  # our newest event, once it is in the DAG
        self.resume_round = 0  # our next event builds on this round at least (R2)
        self.unknown_round = 0  # or on one not below this, where nobody can build on that (0015)
        self.created_at = 0  # ns, when we made it
        self.made = 0
        self.resubmitted = 0
        self.queued_bytes = 0  # as encoded
        self.exposed = 0  # bit set over creators: equivocators whose evidence is in our history (P7)
        self.is_closing = False  # nothing is delivered any more: what is queued stays, what we say still goes out (S4)
        self.is_certifying = False  # the others' votes on that are missing: rounds go on for their sake (S4)
        self.is_copied = False  # there is evidence against ourselves: our key signs elsewhere as well (R5)
        self.late = Late(committee, own, network.gc_depth)  # what the others may refuse by the time ours is there
        self._signer = signer
        self._entropy = entropy
        self._epoch = epoch  # its number
        self._dag, self._decider, self._orderer, self._timer = dag, decider, orderer, timer
        self._queue: deque[Queued] = deque()
        self._next_number = 0
        self._placed: dict[int, Placed] = {}  # our undelivered events by height
        self._uncovered: dict[Node, None] = {}  # accepted, not in our history
        self._evidence: dict[int, Item] = {}  # creator -> proof that is not in our history yet
        self._items: deque[Item] = deque()  # what we say of the network, for our next events (S1, C1)
        self.keeps_up = False  # what we make is so young that the others refer to it at once, if they can take it
        self._heard_round = 0  # of our newest event that another one refers to, or need not refer to yet
        self._urgent = 0  # of these, from the first on: up to the last one that is reason enough for an event

    @property
    def queued(self) -> int:
        """Transactions that wait for an event."""
        return len(self._queue)

    @property
    def own_round(self) -> int:
        """The round of our newest event, 0 before the first."""
        return self.tip.round if self.tip is not None else 0

    @property
    def base_round(self) -> int:
        """The round that our next event builds on: our newest one's (P1), or where a recovery lets us go on (R3)."""
        return max(self.own_round, self.resume_round)

    def submit(self, transactions: Iterable[bytes]) -> None:
        """Queue transactions of our application; they get the next numbers."""
        for transaction in transactions:
            size = len(transaction) + 4
            assert size <= self.network.max_payload_bytes, "the engine refuses larger transactions"
            self._queue.append(Queued(transaction, self._next_number))
            self._next_number += 1
            self.queued_bytes += size

    def say(self, item: Item, *, is_urgent: bool) -> None:
        """Put an item into our next event; what is not urgent waits for an event that is made anyway (P2).

        While we cannot sign these pile up. Of more than MAX_SAID the oldest vote is left out: by then it is one on what
        the others have decided, or forgotten.
        """
        if len(self._items) == MAX_SAID:
            oldest = next((at for at, each in enumerate(self._items) if each.type != ItemType.PROPOSE), 0)
            del self._items[oldest]
            self._urgent -= oldest < self._urgent
        self._items.append(item)
        if is_urgent:
            self._urgent = len(self._items)

    def restore(self, event: Event, epoch: int, taken_over: Iterable[Position]) -> None:
        """Take up an own event of the journal; what it carries is delivered with it, or queued again (O11)."""
        self._placed[height(epoch, event.round)] = Placed(event, (None,) * len(event.transactions))
        for position in taken_over:
            placed = self._placed.get(position.height)
            if placed is not None:
                placed.taken_over.add(position.place)

    def was_delivered(self, height: int) -> None:
        """Forget an own event of the journal that was delivered before the start."""
        self._placed.pop(height, None)

    def follow(self, before: Proposer) -> None:
        """Take over what was not delivered in the epoch before: it goes into events of this one (S4)."""
        before.expire(EPOCH_ROUNDS - 1)
        self._queue, self.queued_bytes, self._next_number = before._queue, before.queued_bytes, before._next_number
        self.made, self.resubmitted = before.made, before.resubmitted
        for item in filter(is_counted, before._items):  # what was said of its checkpoints is of no use here
            self.say(item, is_urgent=True)

    def accept(self, node: Node) -> None:
        """Note an event that entered the DAG; an own one becomes the tip."""
        if self.own >= self.committee.n:  # an observer makes no event behind which it could lie (Q4)
            self._heed(node)
            return
        self.late.accept(node)
        if node.creator == self.own and (self.tip is None or node.round > self.tip.round):
            self.tip = node
            self._cover(node)
            if not self.keeps_up or not self._refers_to_us(node):
                self._heard_round = node.round
        else:
            self._uncovered[node] = None
            if node.round > self._heard_round + 1 and self._refers_to_us(node):
                heard = [parent.round for parent in node.parents if parent.creator == self.own]
                self._heard_round = max(self._heard_round, *heard)  # it may refer to one that is old

    def accuse(self, creator: int, first: Event, second: Event) -> None:
        """Keep the proof that a creator signed two events for one slot, for our next event (E5, F2)."""
        if self._is_accused(creator):
            return
        proof = wire.encode_evidence(first, second)
        if len(proof) <= MAX_EVIDENCE_BYTES:
            self._evidence[creator] = Item(ItemType.EVIDENCE, proof)

    def is_spare(self, event: Event) -> bool:
        """Whether it is one variant more and proves nothing new, so that its signature is not worth checking (F2)."""
        by = event.creator
        if by >= self.committee.n or by == self.own or not self._is_accused(by):
            return False
        return bool(self._dag.row(event.round).variants[by])

    def poll(self, now: int) -> Made | int | None:
        """Our next event if it is time for it, else when to ask again (None: when something changes)."""
        round = self.base_round
        parents = self._strong(round, self.exposed | self._latecomers(round))
        if parents is None:
            if self._dag.row(round).creators.bit_count() < self.committee.q:
                return None
            timeout_at = self._timer.timeout_at(round)
            if now < timeout_at:
                return timeout_at
            # A peer that was away may have left this round out, or come too late, and a liar been exposed since: then
            # there never are q events by others, and one of the liar does no harm (V8; 0015-far-behind.md).
            if (found := self._at_last(round)) is None:
                return None
            round, parents = found
        above = self._dag.row(round + 1).creators.bit_count()
        waits = not self.is_closing and (self._queue or self._orderer.has_undelivered)
        if not (waits or self.is_certifying or self._evidence or self._urgent or above):
            beat_at = self.created_at + self.local.heartbeat_ns
            if now < beat_at:
                return beat_at
        if above >= self.committee.q:  # P3 (c): we are behind, the minimum interval does not apply
            return self._make(round, parents, Advance.OVERTAKEN, now)
        rested_at = self.created_at + self.local.min_event_interval_ns
        if now < rested_at:  # P2
            return rested_at
        if round == 0:
            return self._make(round, parents, Advance.SETTLED, now)
        timeout_at = self._timer.timeout_at(round)
        if not self._settled(round):
            if now >= timeout_at:  # P3 (b)
                return self._make(round, parents, Advance.TIMEOUT, now)
            self._timer.unsettled(round)
            return timeout_at
        soft_until = min(self._timer.soft_until(round), timeout_at)
        if now < soft_until:  # P4
            return soft_until
        return self._make(round, parents, Advance.SETTLED, now)  # P3 (a)

    def delivered(self, done: Delivered) -> tuple[int | None, ...]:
        """The numbers of the transactions in an event of ours that was delivered; None for one of before a restart."""
        at = height(self._epoch, done.event.round)
        placed = self._placed.get(at)
        if placed is None or placed.event.digest != done.event.digest:  # nothing in it, or not made by us (R5)
            return ()
        del self._placed[at]
        return placed.numbers

    def expire(self, floor: int) -> None:
        """Queue again what lies in own events that fell below the floor, or an epoch, undelivered (O11)."""
        again: list[Queued] = []
        for at in sorted(at for at in self._placed if at <= height(self._epoch, floor)):
            placed = self._placed.pop(at)
            for item in filter(is_counted, placed.event.items):
                self.say(item, is_urgent=True)
            for place, (transaction, number) in enumerate(zip(placed.event.transactions, placed.numbers, strict=True)):
                if place not in placed.taken_over:
                    again.append(Queued(transaction, number, Position(at, place)))
        self._queue.extendleft(reversed(again))
        self.queued_bytes += sum(len(entry.transaction) + 4 for entry in again)
        self.resubmitted += len(again)

    def prune(self, dropped: Sequence[Node], floor: int) -> None:
        """Forget events that left the DAG, those of the rounds up to `floor`."""
        for node in dropped:
            self._uncovered.pop(node, None)
        self.late.prune(dropped, floor)

    def _is_accused(self, creator: int) -> bool:
        """Whether there is proof that it forked, in our history or for our next event."""
        return bool(self.exposed >> creator & 1) or creator in self._evidence

    def _refers_to_us(self, node: Node) -> bool:
        """Whether one of our events is among the parents."""
        return any(parent.creator == self.own for parent in node.parents)

    @property
    def _is_unheard(self) -> bool:
        """Whether nobody has referred to us for as many rounds as can be referred to, though we keep up (V3).

        The others cannot have our events: they came too late, as those of a peer that was away for about as long as
        they keep rounds. What builds on them is of no use to anybody, so we build on the others alone
        (docs/decisions/0015-far-behind.md).
        """
        return self.committee.n > 1 and self.own_round > self._heard_round + self.network.gc_depth

    # -- parents ------------------------------------------------------------------------------------

    def _strong(self, round: int, left_out: int) -> list[Node] | None:
        """One event of `round` per creator as strong parents, ours among them; None while there are too few (P6).

        `left_out` is a bit set over creators.
        """
        if round == 0:
            return []
        row = self._dag.row(round)
        if row.creators.bit_count() < self.committee.q:
            return None
        left_out |= self._is_unheard << self.own
        # Of several variants the one that came first: most others will have voted for it too.
        first = [min(variants, key=lambda node: node.index) for variants in row.variants if variants]
        chosen = [node for node in first if not left_out >> node.creator & 1]
        while liars := exposed(chosen, self._dag):  # V8
            kept = [node for node in chosen if not liars >> node.creator & 1]
            if len(kept) == len(chosen):
                break
            chosen = kept
        if chosen and len(chosen) < self.committee.q:
            chosen = with_others(chosen, left_out, self._dag)
        return chosen if len(chosen) >= self.committee.q else None

    def _latecomers(self, round: int) -> int:
        """Bit set over creators: whose events of a round build on some that came so late that others may refuse them.

        By the time ours is there, that is. Nobody could follow us then (docs/decisions/0015-far-behind.md).
        """
        return sum(1 << creator for creator in self.late.depths(self._dag.row(round).nodes))

    def _at_last(self, base: int) -> tuple[int, list[Node]] | None:
        """What to build on where there never are q parents beyond doubt: the round, and strong parents of it.

        Where we left rounds out, and nobody can build on the last of them, it is the highest one below: an event of
        ours may be what the others lack there, and we have signed none (0015).
        """
        least = max(self.own_round, min(base, self.unknown_round), base - self.network.gc_depth // 2)
        for round in range(base, least - 1, -1):
            parents = self._with_late(round)
            if parents is not None:
                return round, parents
        return None

    def _with_late(self, round: int) -> list[Node] | None:
        """Strong parents, of those that are late as few as do, the least late ones."""
        depths = self.late.depths(self._dag.row(round).nodes)
        left_out = sum(1 << creator for creator in depths)
        parents = self._strong(round, left_out)
        for creator in sorted(depths, key=lambda creator: (-depths[creator], creator)):
            if parents is not None:
                break
            left_out ^= 1 << creator
            parents = self._strong(round, left_out)
        return parents

    def _weak(self, round: int, strong: list[Node]) -> list[Node]:
        """The newest accepted events that only a weak parent brings into our history (P6, V3)."""
        taken = self.exposed
        for node in strong:
            taken |= 1 << node.creator
        best: dict[int, Node] = {}
        lowest = round + 1 - self.network.gc_depth
        for node in [node for node in self._uncovered if node.round < lowest]:
            del self._uncovered[node]  # too old for any event of ours from now on (V3)
        tip = self.tip
        is_free = not taken >> self.own & 1 and not self._is_unheard
        if tip is not None and lowest <= tip.round < round and is_free:  # V4, after a recovery (R3)
            best[self.own] = tip
            taken |= 1 << self.own
        for node in self._uncovered:
            if node.round >= round or taken >> node.creator & 1 or self.late.round_of(node) is not None:
                continue
            known = best.get(node.creator)
            if known is None or (known.round, node.index) < (node.round, known.index):
                best[node.creator] = node
        return list(best.values())

    def _cover(self, tip: Node) -> None:
        """Our history grew by what is new behind the tip; evidence in it counts from now on (P7)."""
        todo = list(tip.parents)
        self._heed(tip)
        while todo:
            node = todo.pop()
            if node in self._uncovered:
                del self._uncovered[node]
                self._heed(node)
                todo += node.parents

    def _heed(self, node: Node) -> None:
        proofs = [item.body for item in node.event.items if item.type == ItemType.EVIDENCE]
        for proof in proofs[:MAX_EVIDENCE]:
            creator = check_evidence(proof, self.committee)
            if creator == self.own:
                self.is_copied = True
            elif creator is not None:
                self.exposed |= 1 << creator
                self._evidence.pop(creator, None)

    # -- making -------------------------------------------------------------------------------------

    def _settled(self, round: int) -> bool:
        """Whether the primary's event is here and the round below has its primary settled (P3).

        While decisions keep up, a primary that is not linked or mostly late is not waited for: a dead peer
        would cost every n-th round its timeout (P4). Once they lag, every primary is, which is what makes
        progress certain (docs/decisions/0003-dead-primaries.md).
        """
        primary = self.committee.primary(round)
        here = self._dag.row(round).creators >> primary & 1
        lag = round - self._decider.closed
        if not here and (lag > PATIENCE_ROUNDS or self._timer.expects(primary)):
            return False
        return self._decider.settled(round - 1)

    def _make(self, round: int, strong: list[Node], by: Advance, now: int) -> Made:
        """Build and sign the event after `round`; it enters the DAG when it is durable (P7, J1)."""
        self._timer.advanced(round, by, now)
        parents = sorted(strong + self._weak(round, strong), key=lambda node: node.creator)
        references = tuple(Parent(node.creator, node.round, node.digest) for node in parents)
        items, taken = self._take_items(), self._take()
        transactions = tuple(entry.transaction for entry in taken)
        created_at = max(now, self.tip.created_at + 1) if self.tip is not None else now  # V5
        salt = int.from_bytes(blake3(DOMAIN_SALT + self._entropy + struct.pack("<Q", round + 1))[:8], "little")
        header = wire.encode_header(
            self.committee.epoch_id, self.own, round + 1, created_at, salt, references, items, transactions
        )
        digest = wire.event_digest(header)
        event = Event(
            creator=self.own,
            round=round + 1,
            created_at=created_at,
            parents=references,
            items=items,
            transactions=transactions,
            header=header,
            digest=digest,
            signature=self._signer.sign(DOMAIN_EVENT + digest),
        )
        if taken or any(map(is_counted, items)):
            self._placed[height(self._epoch, event.round)] = Placed(event, tuple(entry.number for entry in taken))
        self.created_at = now
        self.made += 1
        return Made(event, tuple(entry.source for entry in taken if entry.source is not None))

    def _take(self) -> list[Queued]:
        """As many queued transactions as one event takes, in order."""
        taken: list[Queued] = []
        room = 0 if self.is_closing else self.network.max_payload_bytes
        while self._queue and len(taken) < MAX_TRANSACTIONS:
            size = len(self._queue[0].transaction) + 4
            room -= size
            if room < 0:
                break
            self.queued_bytes -= size
            taken.append(self._queue.popleft())
        return taken

    def _take_items(self) -> tuple[Item, ...]:
        """Evidence, and as much of what we say of the network as one event takes, in order."""
        taken = list(self._evidence.values())[:MAX_EVIDENCE]
        room = MAX_ITEM_BYTES - sum(len(item.body) for item in taken)
        while self._items and len(taken) < MAX_ITEMS and len(self._items[0].body) <= room:
            room -= len(self._items[0].body)
            taken.append(self._items.popleft())
            self._urgent = max(0, self._urgent - 1)
        return tuple(taken)

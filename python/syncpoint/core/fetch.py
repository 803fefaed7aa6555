"""Events that wait for their parents, and how the missing ones are obtained (F1 to F3, V7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush, heapreplace

from .committee import Committee
from .dag import Dag, Node
from .error import Reject
from .values import Event
from .wire import MAX_REQUEST

__all__ = ["Budget", "Fetcher", "Server", "first_needed"]

MS = 1_000_000
GRACE_NS = 3 * MS  # before the first request: the parent is mostly on its way from its creator
FIRST_RETRY_NS, MAX_RETRY_NS = 20 * MS, 2_000 * MS
GRAIN_NS = MS  # requests are due at multiples of it: so few wake-ups, however much is missing
PULL_TIMEOUT_NS = 1_000 * MS  # an unanswered pull no longer stands in the way of another
PULL_PATIENCE_NS = 100 * MS  # before another peer is pulled from as well ...
PATIENCE_PER_ROUND_NS = 4 * MS  # ... and so much more for n events of the first one: few networks are as quick as that
FIRST_PULL_PAUSE_NS, MAX_PULL_PAUSE_NS = 50 * MS, 5_000 * MS  # after a pull that brought nothing new
MAX_REFUSED = 4096  # digests of invalid events that are remembered, oldest forgotten first
MAX_ADMITTED = 16  # second variants of one slot that one peer may bring of an epoch that it is through with
MAX_MISSING = 4096  # parents that one sender's waiting events miss; beyond, more of them are not kept


class Waiting:
    """A checked event some of whose parents are missing."""

    __slots__ = ("event", "missing", "sender", "size")

    def __init__(self, event: Event, sender: int, missing: set[bytes]) -> None:
        self.event = event
        self.sender = sender
        self.missing = missing
        self.size = event.size


class Want:
    """A missing event: who waits for it, whom to ask next, and when."""

    __slots__ = ("asked", "children", "due", "hints", "retry")

    def __init__(self, due: int) -> None:
        self.children: list[bytes] = []
        self.hints: list[int] = []  # peers that sent something that refers to it, so they have it
        self.asked = 0
        self.due = due
        self.retry = FIRST_RETRY_NS


class Fetcher:
    """The pool of waiting events and the flights that bring what they miss.

    Each sender has a share of the pool: an honest one relays only what is complete at its side, so what is
    made up fills the share of a liar, whoever it says to be from.

    Observers are asked where members do not help (Q4): they may be behind, and f does not bound how many of them lie.
    """

    def __init__(self, committee: Committee, own: int, pool_bytes_per_sender: int) -> None:
        self.own = own
        self.limit = pool_bytes_per_sender
        self.linked: dict[int, None] = {}  # peers, oldest link first
        self._n = committee.n
        self._waiting: dict[bytes, Waiting] = {}
        self._wants: dict[bytes, Want] = {}
        self._due: list[tuple[int, bytes]] = []  # heap of (ns, digest): when to ask for a want
        self._bytes: Counter[int] = Counter()  # per sender, in the pool
        self._missing: Counter[int] = Counter()  # per sender, parents that its waiting events miss
        self._slots: dict[tuple[int, int, int], int] = {}  # (round, creator, sender) -> waiting events
        self._refused: dict[bytes, None] = {}  # digests
        # Second variants that are taken though nothing refers to them, and whose they are: (round, creator, sender).
        self._admitted: dict[bytes, tuple[int, int, int]] = {}
        self._admissions: Counter[tuple[int, int, int]] = Counter()
        # Peer -> until when its pull is under way, and before when nobody else is pulled from as well.
        self._pulls: dict[int, tuple[int, int]] = {}
        self._patience = PATIENCE_PER_ROUND_NS // committee.n  # for an event
        self._max_pulls = committee.f + 1  # from members, so that f liars who do not answer hold up nothing
        self._pause: dict[int, tuple[int, int]] = {}  # peer -> (not before, next pause)
        self._barren: set[int] = set()  # peers ahead of us whose last answer to a pull had nothing that we could take
        self._progress = 0  # accepted events ...
        self._progress_at_pull: dict[int, int] = {}  # ... when a peer was last pulled from

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._waiting

    @property
    def waiting(self) -> int:
        """Events that wait."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of events that wait."""
        return self._bytes.total()

    @property
    def wanted(self) -> int:
        """Events that are missing."""
        return len(self._wants)

    @property
    def is_stranded(self) -> bool:
        """Whether no linked member has what we need next (R4)."""
        members = [peer for peer in self.linked if peer < self._n]
        return bool(members) and self._barren.issuperset(members)

    def wants(self, digest: bytes) -> bool:
        """Whether a waiting event refers to it, or it was admitted."""
        return digest in self._wants or digest in self._admitted

    def admit(self, event: Event, sender: int) -> None:
        """Let a second variant of a slot in, if the sender has not brought too many of it (F2; 0017-epochs.md)."""
        slot = (event.round, event.creator, sender)
        if event.digest not in self._admitted and self._admissions[slot] < MAX_ADMITTED:
            self._admissions[slot] += 1
            self._admitted[event.digest] = slot

    def waits_in(self, round: int, creator: int, sender: int) -> bool:
        """Whether an event of this slot, from this sender, waits."""
        return (round, creator, sender) in self._slots

    # -- the pool -----------------------------------------------------------------------------------

    def hold(self, event: Event, sender: int, missing: set[bytes], now: int) -> Reject | None:
        """Keep an event until its missing parents are here; a reject when there is no room (V7)."""
        if sender != self.own and not self._make_room(event, sender, len(missing)):
            return Reject.POOL_FULL
        self._waiting[event.digest] = Waiting(event, sender, missing)
        self._bytes[sender] += event.size
        self._missing[sender] += len(missing)
        slot = (event.round, event.creator, sender)
        self._slots[slot] = self._slots.get(slot, 0) + 1
        for digest in sorted(missing):
            want = self._wants.get(digest)
            if want is None:
                want = self._wants[digest] = Want(_on_grain(now + GRACE_NS))
                heappush(self._due, (want.due, digest))
            want.children.append(event.digest)
            if sender != self.own and sender not in want.hints:
                want.hints.append(sender)
        return None

    def accepted(self, digest: bytes, sender: int) -> list[tuple[Event, int]]:
        """An event of a sender entered the DAG: the waiting events (and their senders) that miss nothing any more."""
        self._progress += 1
        self._barren.clear()
        if sender in self._pulls:
            until, before = self._pulls[sender]
            self._pulls[sender] = until, min(until, before + self._patience)
        ready = []
        want = self._wants.pop(digest, None)
        for child in want.children if want is not None else ():
            waiting = self._waiting.get(child)
            if waiting is None:
                continue
            waiting.missing.discard(digest)
            self._missing[waiting.sender] -= 1
            if not waiting.missing:
                self._remove(waiting)
                ready.append((waiting.event, waiting.sender))
        return ready

    def refuse(self, digest: bytes) -> list[int]:
        """Remember that an event is invalid, and drop what builds on it: who sent that, once for each event."""
        senders: list[int] = []
        todo = [digest]
        while todo:
            digest = todo.pop()
            if len(self._refused) >= MAX_REFUSED:
                del self._refused[next(iter(self._refused))]
            self._refused[digest] = None
            want = self._wants.pop(digest, None)
            for child in want.children if want is not None else ():
                waiting = self._waiting.get(child)
                if waiting is not None:
                    self._drop(waiting)
                    senders.append(waiting.sender)
                    todo.append(child)
        return senders

    def is_refused(self, digest: bytes) -> bool:
        """Whether an event is known to be invalid."""
        return digest in self._refused

    def forget_below(self, floor: int) -> None:
        """Drop what waits in rounds that are too old to matter."""
        for waiting in [waiting for waiting in self._waiting.values() if waiting.event.round <= floor]:
            self._drop(waiting)
        self._admitted = {digest: slot for digest, slot in self._admitted.items() if slot[0] > floor}
        self._admissions = Counter(self._admitted.values())

    def _make_room(self, event: Event, sender: int, missing: int) -> bool:
        """Room in the sender's share, farthest rounds evicted first (V7)."""

        def fits(bytes: int, parents: int) -> bool:
            # One event always fits, however large a network lets them be.
            return (not bytes or bytes + event.size <= self.limit) and parents + missing <= MAX_MISSING

        bytes, parents = self._bytes[sender], self._missing[sender]
        if fits(bytes, parents):
            return True
        farther = [w for w in self._waiting.values() if w.sender == sender and w.event.round > event.round]
        farther.sort(key=lambda w: (w.event.round, w.event.digest))
        evicted = []
        while farther and not fits(bytes, parents):
            evicted.append(farther.pop())
            bytes -= evicted[-1].size
            parents -= len(evicted[-1].missing)
        if not fits(bytes, parents):
            return False
        for waiting in evicted:
            self._drop(waiting)
        return True

    def _remove(self, waiting: Waiting) -> None:
        event = waiting.event
        del self._waiting[event.digest]
        self._bytes[waiting.sender] -= waiting.size
        self._missing[waiting.sender] -= len(waiting.missing)
        slot = (event.round, event.creator, waiting.sender)
        self._slots[slot] -= 1
        if not self._slots[slot]:
            del self._slots[slot]

    def _drop(self, waiting: Waiting) -> None:
        """Remove an event that will not be accepted from here, and what was wanted for its sake only."""
        self._remove(waiting)
        for digest in waiting.missing:
            want = self._wants.get(digest)
            if want is None:
                continue
            want.children.remove(waiting.event.digest)
            if not want.children:
                del self._wants[digest]

    # -- asking for single events -------------------------------------------------------------------

    def connected(self, peer: int) -> None:
        """A link is up: it can be asked."""
        self.linked[peer] = None

    def disconnected(self, peer: int) -> None:
        """A link is gone, and with it what was asked there."""
        self.linked.pop(peer, None)
        self._pause.pop(peer, None)
        self._progress_at_pull.pop(peer, None)
        self._pulls.pop(peer, None)
        self._barren.discard(peer)

    def poll(self, now: int) -> tuple[list[tuple[int, list[bytes]]], int | None]:
        """What to ask whom for now, and when to look again (F1)."""
        asks: dict[int, list[bytes]] = {}
        while self._due:
            due, digest = self._due[0]
            want = self._wants.get(digest)
            if want is None or want.due != due:  # satisfied, dropped, or wanted anew since
                heappop(self._due)
                continue
            if due > now:
                break
            turn = self._whom(want)
            if turn and digest not in self._waiting:
                asks.setdefault(turn[want.asked % len(turn)], []).append(digest)
                want.asked += 1
            want.due = _on_grain(now + want.retry)
            if want.asked % max(1, len(turn)) == 0:  # all were asked
                want.retry = min(2 * want.retry, MAX_RETRY_NS)
            heapreplace(self._due, (want.due, digest))
        requests = []
        for peer, digests in asks.items():
            for at in range(0, len(digests), MAX_REQUEST):
                requests.append((peer, digests[at : at + MAX_REQUEST]))
        return requests, self._due[0][0] if self._due else None

    def _whom(self, want: Want) -> list[int]:
        """Its sender first, then who referred to it, then anyone (F1); after the members one observer (Q4)."""
        order = [peer for peer in want.hints if peer in self.linked]
        order += [peer for peer in self.linked if peer not in want.hints]
        turn = [peer for peer in order if peer < self._n]
        observers = [peer for peer in order if peer >= self._n]
        if observers:  # each time another: with all of them in a turn, the members would be asked too seldom
            turn.append(observers[want.asked // (len(turn) + 1) % len(observers)])
        return turn

    # -- pulling whole rounds -----------------------------------------------------------------------

    def pull(self, peer: int, frontier: Sequence[int], most: int, now: int) -> list[int] | None:
        """Above which frontier to pull from a peer that is ahead; None while enough pulls are under way (F3).

        Where the last pull was in vain it is below what is missing, and nowhere above the round `most`.
        """
        self._pulls = {other: pull for other, pull in self._pulls.items() if now < pull[0]}
        # An observer is pulled from while nobody else is, and never stands in the way of a member (Q4).
        is_member = peer < self._n
        rivals = [before for other, (_, before) in self._pulls.items() if other < self._n or not is_member]
        if peer in self._pulls or len(rivals) >= (self._max_pulls if is_member else 1):
            return None
        if any(now < before for before in rivals):
            return None
        not_before, pause = self._pause.get(peer, (0, FIRST_PULL_PAUSE_NS))
        in_vain = self._progress_at_pull.get(peer) == self._progress
        if in_vain:
            if now < not_before:
                return None
            self._pause[peer] = (now + pause, min(2 * pause, MAX_PULL_PAUSE_NS))
        else:
            self._pause[peer] = (now + FIRST_PULL_PAUSE_NS, FIRST_PULL_PAUSE_NS)
        self._pulls[peer] = now + PULL_TIMEOUT_NS, now + PULL_PATIENCE_NS
        self._progress_at_pull[peer] = self._progress
        return self._below_missing(frontier, most) if in_vain else list(frontier)

    def _below_missing(self, frontier: Sequence[int], most: int) -> list[int]:
        """A frontier below the slots of what is missing, and nowhere above `most`.

        Of two events of one slot we may have the one that the others did not build on. In an epoch that is over for
        them they cannot be asked for single events any more, so the slots of those that are missing are pulled again.
        """
        below = [min(round, most) for round in frontier]
        for waiting in self._waiting.values():
            for parent in waiting.event.parents:
                if parent.digest in waiting.missing and parent.digest not in self._waiting:
                    below[parent.creator] = min(below[parent.creator], max(parent.round, 1) - 1)
        return below

    def pulled(self, peer: int, *, is_ahead: bool) -> None:
        """The answer to a pull is complete: it ends with the peer's frontier, which is ahead of ours or not."""
        asked = self._pulls.pop(peer, None) is not None
        if asked and is_ahead and self._progress_at_pull.get(peer) == self._progress:
            self._barren.add(peer)


class Budget:
    """Bytes that each peer may make us send."""

    BYTES = 16 * 1024 * 1024  # at once ...
    BYTES_PER_MS = 64 * 1024  # ... and so much more per millisecond

    def __init__(self) -> None:
        self._left: dict[int, int] = {}
        self._filled_at: dict[int, int] = {}  # ns

    def left(self, peer: int, now: int) -> int:
        """What a peer has, as it has grown until now."""
        grown = (now - self._filled_at.get(peer, 0)) // MS * self.BYTES_PER_MS
        if grown:
            self._filled_at[peer] = now
        self._left[peer] = min(self._left.get(peer, self.BYTES) + grown, self.BYTES)
        return self._left[peer]

    def spend(self, peer: int, bytes: int) -> None:
        """Take some of it, not more than it has."""
        self._left[peer] -= bytes

    def charge(self, peer: int, now: int) -> Reject | None:
        """Take an answer that the store gives off it."""
        if self.left(peer, now) < Server.STORED_BYTES:
            return Reject.BUSY
        self.spend(peer, Server.STORED_BYTES)
        return None


class Server:
    """Answers to other peers' requests, within a byte budget for each of them (F1)."""

    BYTES_PER_PULL = 1024 * 1024  # the first event is sent whatever its size
    STORED_BYTES = 4 * BYTES_PER_PULL  # for an answer of the store, which keeps the disk from what is to be written
    PASSED_BYTES = 256  # for an event that a pull makes us look at and is not sent: that takes time as well

    def __init__(self, dag: Dag, committee: Committee, gc_depth: int) -> None:
        self.budget = Budget()
        self._dag = dag
        self._q = committee.q
        self._gc_depth = gc_depth

    def requested(self, peer: int, digests: Iterable[bytes], now: int) -> list[Event] | Reject:
        """The events of a REQUEST that we have."""
        nodes = (node for digest in digests if (node := self._dag.get(digest)) is not None)
        return self._within_budget(peer, nodes, now)

    def above(self, peer: int, frontier: Sequence[int], now: int) -> list[Event] | Reject:
        """The first events above a frontier, in ascending rounds, as many as one answer takes (F3)."""
        return self._within_budget(peer, self._above(frontier), now)

    def stored_from(self, frontier: Sequence[int]) -> int | None:
        """From which round on the answer to a pull begins below what is in memory; None when it does not."""
        first = first_needed(frontier, self._dag.frontier, self._dag.top, self._q, self._gc_depth)
        return first if first <= self._dag.floor else None

    def _above(self, frontier: Sequence[int]) -> Iterator[Node | None]:
        """What `above` sends while the budget lasts; None for each event that it passes over."""
        size = 0
        lowest = _lowest(frontier, self._dag.frontier, self._dag.top)
        for round in range(max(lowest, self._dag.floor) + 1, self._dag.top + 1):
            for node in self._dag.row(round).nodes:
                if round > frontier[node.creator]:
                    if size and size + node.size > self.BYTES_PER_PULL:
                        return
                    size += node.size
                    yield node
                else:
                    yield None

    def _within_budget(self, peer: int, nodes: Iterable[Node | None], now: int) -> list[Event] | Reject:
        """The events of these until the budget is used up; nothing is looked at beyond."""
        left = self.budget.left(peer, now)
        events: list[Event] = []
        spent, busy = 0, False
        for node in nodes:
            cost = self.PASSED_BYTES if node is None else node.size
            if cost > left - spent:
                busy = not events
                break
            spent += cost
            if node is not None:
                events.append(node.event)
        self.budget.spend(peer, spent)
        return Reject.BUSY if busy else events


def first_needed(frontier: Sequence[int], ours: Sequence[int], top: int, q: int, gc_depth: int) -> int:
    """The lowest round that a peer with a frontier lacks of what we have up to `top`, and has a use for.

    Whoever has q events of a round needs nothing `gc_depth` below it any more (V3).
    """
    reached = sorted(frontier, reverse=True)[q - 1]
    return max(_lowest(frontier, ours, top), reached - gc_depth) + 1


def _lowest(frontier: Sequence[int], ours: Sequence[int], top: int) -> int:
    """The lowest round of a creator of whom we have more than a peer with this frontier; else `top`."""
    return min((their for their, our in zip(frontier, ours, strict=True) if their < our), default=top)


def _on_grain(at: int) -> int:
    """The next time at which requests are due, from a time in ns on."""
    return -(-at // GRAIN_NS) * GRAIN_NS

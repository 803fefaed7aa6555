"""One random stream of inputs for a whole cluster in virtual time, every peer of which is a pair of machines.

Nothing is asked of the cluster but that both machines of a pair do the same. So anything goes: more liars than
may lie, links that turn bytes round, journals that lost their end, clocks that jump.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.virtual import MS, Cluster, jitter, machine_of
from syncpoint.core import wire
from syncpoint.core.config import MAX_TRANSACTIONS, Local, MachineConfig, Network
from syncpoint.core.epoch import MAX_PROPOSALS, Outcome
from syncpoint.core.error import Reject
from syncpoint.core.fetch import MAX_MISSING
from syncpoint.core.input import Attest, Certify, Connected, Disconnected, Input, Propose, Received, Start, Vote
from syncpoint.core.items import Proposal, encode_proposal, proposal_id
from syncpoint.core.journal import (
    OwnEvent,
    PeerEvent,
    Place,
    Position,
    RecordType,
    State,
    decode_record,
    encode_own_event,
)
from syncpoint.core.output import Certified, Closed, Deliver, Diverged, Opened, Rejected
from syncpoint.core.retain import Retention
from syncpoint.core.values import Event, Parent, SyncPointKind
from syncpoint.core.wire import FrameType

from .forge import STATES, Forger, some_proposal
from .mutate import junk, mutated
from .pair import Difference, Pair, Stopped

SIZES = (1, 2, 3, 4, 4, 4, 4, 4, 4, 5, 5, 7, 7, 10, 13)
CODES = tuple(Reject)
# What must happen in a run besides all the reject codes, or the run has seen too little.
EVENTS = (
    "restart", "replay", "corrupt journal", "halted", "equivocator", "resubmitted", "timeout", "indirect",
    "direct skip", "garbage", "delivered", "burst", "evicted", "clock jump", "late persist", "flood",
    "forgotten refusal", "full event", "fast commit", "certified commit", "simulated", "observers", "observers deliver",
    "store answers", "catching up", "stranded", "opened", "adopted", "refused", "expired", "invalid", "too many",
    "ended", "beat", "certified", "unknown", "attested", "diverged", "other state", "state",
)  # fmt: skip
SIMULATED = 0.25  # of the streams have simulated signatures
OBSERVED = 0.15  # of the streams have observers (Q4)
FROM_OBSERVERS = 0.3  # there, of what somebody sends who is up to something
BURST = 12  # frames: from so many on the native core may check signatures on several threads


@dataclass
class Tally:
    """What happened in a run of streams."""

    streams: int = 0
    steps: int = 0
    inputs: int = 0
    codes: collections.Counter[Reject] = field(default_factory=collections.Counter)
    events: collections.Counter[str] = field(default_factory=collections.Counter)

    def add(self, other: Tally) -> None:
        """Count another run into this one."""
        self.streams += other.streams
        self.steps += other.steps
        self.inputs += other.inputs
        self.codes.update(other.codes)
        self.events.update(other.events)

    def lines(self) -> list[str]:
        """The codes hit and what else happened, as a table."""
        lines = [f"{self.streams} streams, {self.steps} steps, {self.inputs} inputs"]
        lines += [f"  {code.value:3} {code.name:18} {self.codes[code]:9}" for code in CODES]
        lines += [f"      {name:18} {self.events[name]:9}" for name in EVENTS]
        return lines

    def missing(self) -> list[str]:
        """What did not happen."""
        return [code.name for code in CODES if not self.codes[code]] + [e for e in EVENTS if not self.events[e]]


def stream(seed: int, cores: tuple[str, str], make: Callable[..., Any] = machine_of, size: float = 1.0) -> Tally:
    """Run the stream of a seed through pairs of these cores; raises Difference where they differ."""
    try:
        # By draws of their own, so that the rest of a stream does not depend on it.
        simulated = random.Random(f"lockstep/signatures/{seed}").random() < SIMULATED
        signatures = "simulated" if simulated else "ed25519"
        watched = random.Random(f"lockstep/observers/{seed}")
        observers = watched.randint(1, 3) if watched.random() < OBSERVED else 0
        cluster = Wild(random.Random(f"lockstep/{seed}"), cores, make, size, signatures, observers)
        cluster.live_through()
    except Enough:
        pass
    except Difference as difference:
        raise Difference(f"seed {seed}: {difference}") from None
    return cluster.summary()


class Enough(Exception):
    """The stream is as long as it was to be."""


class Wild(Cluster):
    """A cluster of pairs to which everything happens."""

    def __init__(
        self,
        rng: random.Random,
        cores: tuple[str, str],
        make: Callable[..., Any],
        size: float,
        signatures: str,
        observers: int,
    ) -> None:
        self.rng = rng
        self.cores = cores
        self.make = make
        self.signatures = signatures
        self.tally = Tally(streams=1)
        self.tally.events["simulated"] += signatures == "simulated"
        self.tally.events["observers"] += observers
        self.counted: set[tuple[int, int, str]] = set()
        n = 31 if rng.random() < 0.01 else rng.choice(SIZES)
        calm = rng.random() < 0.5  # much is decided and delivered; else little is, and everything goes wrong
        steps = int(size * rng.choice((350, 500, 700) if calm else (100, 250, 400)) * min(1.0, 8 / n))
        self.steps_left = steps + (n + observers) ** 2
        self.burst = rng.choice((0.0, 0.0, 0.1, 0.5))  # how often a peer's inputs are kept for one step
        self.noise = rng.choice((0.0, 0.02) if calm else (0.0, 0.05, 0.2))  # how many frames a link turns round
        self.kept: dict[int, list[Input]] = {}
        self.seen: collections.deque[bytes] = collections.deque(maxlen=200)  # frames to send again, or to spoil
        self.muted: set[int] = set()  # whose events do not arrive
        self.broken: set[int] = set()  # their journal was refused; they come back with a good one
        self.locals = [self._some_local() for _ in range(n + observers)]
        self.forger = Forger(n, rng, signatures)
        self.good: dict[int, list[bytes]] = {}
        most = (n - 1) // 3
        few = rng.random() < 0.8  # else more than may lie, whose machines run as well and find themselves betrayed
        some = rng.choice((0, most, rng.randint(min(1, most), most)))
        self.liars = rng.sample(range(n), some if few else rng.randrange(n))
        self.puppets = set(self.liars) if few else set()
        self.calm = rng.choice((0.3, 0.1, 0.04) if calm else (1.0, 1.0, 0.3))
        network = Network(
            rule=rng.choice(("two_step", "two_step", "three_step")),
            order=rng.choice(("fair", "fair", "fast")),
            f=None if calm else rng.choice((None, rng.randint(0, most))),
            gc_depth=rng.choice((4, 4, 4, 5, 5, 6, 8, 12, 30)),
            max_ahead=rng.choice((8, 8, 10, 20, 200)),
            max_payload_bytes=rng.choice((1024, 1024, 1500, 4096, 66_000, 100_000)),
            epoch_ms=rng.choice((0, 0, 1, 30, 400)),
        )
        lag = rng.choice((1, 1, 2, 5) if calm else (1, 5, 30))
        self._jitter = jitter(rng, MS // 10, lag * MS, loss=rng.choice((0, 0, 0.02) if calm else (0, 0.02, 0.1)))
        super().__init__(
            n,
            observers=observers,
            network=network,
            delay=self._delay,
            linked=False,
            persist_ns=rng.choice((0, 0, MS, 50 * MS) if not calm else (0, 0, MS)),
            factory=self._pair,
        )
        self.down |= self.puppets
        for store in self.stores:
            store.strict = False  # more than f may lie
        for i, j in itertools.combinations(range(n + observers), 2):
            if calm or rng.random() < 0.97:
                self.link(i, j)
        self.steps_left = steps

    def _some_local(self) -> Local:
        rng = self.rng
        local: dict[str, Any] = {
            "min_event_interval_ns": rng.choice((0, MS, MS, 7 * MS)),
            "heartbeat_ns": rng.choice((30 * MS, 100 * MS, 500 * MS)),
            "retain_events": rng.choice((0, 0, 0, 40, 400, 40_000)),
            "retain_bytes": rng.choice((500, 20_000, 10**9)),
            "pool_bytes_per_sender": rng.choice((400, 1500, 10_000, 10**7)),
            "stores": rng.random() < 0.6,
        }
        if "verify_threads" in Local.__dataclass_fields__:
            local["verify_threads"] = rng.choice((1, 3))
        return Local(**local)

    def local_of(self, i: int) -> Local:
        return self.locals[i]

    def _pair(self, i: int, config: MachineConfig) -> Pair:
        pair = Pair(dataclasses.replace(config, signatures=self.signatures), self.cores, self.make)
        pair.name = f"peer {i} of {self.n}, {config.network}, {config.local}, signatures {self.signatures}"
        return pair

    def _delay(self, i: int, j: int, frame: bytes) -> int | None:
        if i in self.muted and frame[:1] == bytes((FrameType.EVENT,)):
            return None
        return self._jitter(i, j, frame)

    # -- the story --------------------------------------------------------------------------------------

    def live_through(self) -> None:
        """Let things happen until the stream is long enough."""
        rng = self.rng
        actions: list[tuple[float, Callable[[], None]]] = [
            (6, self._submit),
            (5 if self.liars else 0, self._lie),
            (1 / self.calm if self.puppets else 0, self._split),
            (1, self._propose),
            (1.5, self._vote),
            (0.5, self._propose_and_vote),
            (1.5, self._attest),
            (0.5, self._certify),
            (0.1, self._propose_many),
            (0.1 if rng.random() < 0.3 else 0, self._propose_the_end),
            (1.5 if self.liars else 0, self._contradict),
            (2, self._burst),
            (1, self._junk),
            (1, self._wild_request),
            (1, self._wild_frontier),
            (1, self._again),
            (0.6, self._relink),
            (0.25, self._crash_or_restart),
            (0.5 if self.liars else 2, self._mute),
            (0.5 if self.network.gc_depth < 10 and self.n > 3 else 0, self._hide),
            (0.15, self._jump),
            (0.15, self._slow_down),
            (0.04, self._twin),
            (0.05, self._bad_journal),
            (0.2 if self.network.max_payload_bytes > 60_000 else 0, self._greedy),
            (0.02, self._flood),
            (0.02, self._many_transactions),
        ]
        weights = [weight * self.calm * rng.choice((0, 1, 1, 3)) for weight, _ in actions[1:]]
        chosen = [action for _, action in actions]
        if not self.liars and 4 <= self.n <= 7 and self.network.gc_depth <= 6 and self.calm < 1 and rng.random() < 0.5:
            self.run(10 * MS)
            self._hide()
        if self.n == 4 and self.puppets and rng.random() < 0.15:
            self.run(40 * MS)
            self._refusals()
        while True:
            self.run(rng.choice((0, MS // 2, MS, 3 * MS, 10 * MS, 40 * MS)))
            rng.choices(chosen, [actions[0][0], *weights])[0]()

    def summary(self) -> Tally:
        """What happened in all."""
        tally = self.tally
        for i in self.live:
            self._look(i)
        tally.events["store answers"] += self.answers
        return tally

    def _look(self, i: int) -> None:
        """Count what a machine says of itself, before it goes."""
        pair = self.machines[i]
        status = pair.first.status()
        self.tally.codes.update(status.rejects)
        events = self.tally.events
        events["halted"] += status.halted is not None
        events["equivocator"] += len(status.equivocators)
        events["resubmitted"] += status.resubmitted
        events["timeout"] += status.timeouts
        events["fast commit"] += status.commits[0]
        events["certified commit"] += status.commits[1]
        events["indirect"] += status.commits[2] + status.skips[1]
        events["direct skip"] += status.skips[0]
        events["catching up"] += status.catching_up
        events["stranded"] += status.stranded
        events["garbage"] += status.floor_round > 0
        events["delivered"] += status.delivered
        events["observers deliver"] += status.delivered if i >= self.n else 0

    # -- what the world does ----------------------------------------------------------------------------

    def step(self, i: int, *inputs: Input) -> None:
        """Inputs of a peer; some are kept and go into one step with those that come after."""
        if i in self.down:
            return
        kept = self.kept.setdefault(i, [])
        kept += inputs
        if kept and not isinstance(kept[0], Start) and self.rng.random() < self.burst and len(kept) < 60:
            return
        del self.kept[i]
        self._step(i, kept)

    def _step(self, i: int, inputs: list[Input]) -> None:
        if self.steps_left <= 0:
            raise Enough
        self.steps_left -= 1
        self.tally.steps += 1
        self.tally.inputs += len(inputs)
        frames = sum(len(input.frames) for input in inputs if isinstance(input, Received))
        self.tally.events["burst"] += frames >= BURST
        try:
            outputs = self.machines[i].step(self.now, inputs)
        except Stopped:
            self.tally.events["corrupt journal"] += 1
            self.broken.add(i)
            self.crash(i)
            return
        for output in outputs:
            self._carry_out(i, output)

    def _carry_out(self, i: int, output: object) -> None:
        events = self.tally.events
        match output:
            case Opened():
                events["opened"] += 1
                if output.proposal not in self.forger.proposals:
                    self.forger.proposals.append(output.proposal)
                return
            case Closed():
                events[Outcome(output.outcome).name.lower().replace("_", " ")] += 1
                if output.proposal in self.forger.proposals and self.rng.random() < 0.5:  # else it is voted for later
                    self.forger.proposals.remove(output.proposal)
                return
            case Certified(certificate):
                events["certified" if certificate.signers else "unknown"] += 1
                events["attested"] += any(certificate.state_hash)
                return
            case Diverged(divergence):
                events["other state" if divergence.is_state else "diverged"] += 1
                return
            case Deliver():
                events["beat"] += sum(hasattr(done, "approvals") and not done.approvals for done in output.messages)
            case Rejected():
                events["pool full"] += output.code is Reject.POOL_FULL
        super()._carry_out(i, output)

    def send(self, i: int, j: int, frame: bytes) -> None:
        """A link, which may turn round what goes over it, double it, or let it be overtaken."""
        if j in self.puppets:
            self._answer(i, j, frame)
        if (min(i, j), max(i, j)) not in self.links or j in self.down:
            return
        rng = self.rng
        if rng.random() < 0.2:
            self.seen.append(frame)
        if rng.random() < self.noise:
            match rng.choice(("mutate", "mutate", "double", "overtake", "old", "junk")):
                case "mutate":
                    frame = mutated(rng, frame, self.seen)
                case "double":
                    super().send(i, j, frame)
                case "overtake":
                    self._put(self.now + rng.randint(0, 20 * MS), j, Received(i, (frame,)))
                    return
                case "old" if self.seen:
                    frame = rng.choice(self.seen)
                case _:
                    frame = junk(rng)
        super().send(i, j, frame)
        self.frames.clear()

    def crash(self, i: int) -> None:
        """Its machine is gone, with what it did not persist."""
        if i not in self.broken:
            self._look(i)
        self.kept.pop(i, None)
        super().crash(i)

    def _live(self) -> list[int]:
        return self.live or [self._come_back(self.rng.choice(sorted(self.down - self.puppets)))]

    def _come_back(self, i: int) -> int:
        self.broken.discard(i)
        if i in self.good:
            self.journals[i] = self.good.pop(i)
        self.tally.events["restart"] += 1
        if self.locals[i].stores and self.rng.random() < 0.8:
            self.restart(i, records=self._stored(i), whole=self.rng.random() < 0.7)
            if i not in self.down and self.rng.random() < 0.5:
                self.step(i, Certify(0))  # its checkpoints of before are not known any more
        else:
            self.restart(i, whole=self.rng.random() < 0.9)
        return i

    def _stored(self, i: int) -> list[bytes]:
        """What the store of a peer gives at a start, some of it lost, from long ago, or not as it was."""
        rng, shelf = self.rng, self.stores[i]
        if rng.random() < 0.2 and shelf.records:
            shelf.cut(rng.randrange(len(shelf.records)), rng.randrange(len(shelf.delivered) + 1))
        retention = Retention(self.network, self.locals[i], self.n)
        records = shelf.load(self.machines[i].committee.epoch_id, self.network, retention)
        self.tally.events["replay"] += bool(records) and records[0][0] == RecordType.PLACE
        self.tally.events["state"] += len(records) > 1 and records[1][0] == RecordType.STATE
        if records and rng.random() < 0.1:
            at = rng.randrange(len(records))
            match rng.choice(("lost", "mutate", "double")):
                case "lost":
                    del records[at]
                case "mutate":
                    records[at] = self._near(mutated(rng, records[at]))
                case _:
                    records.insert(rng.randrange(len(records) + 1), records[at])
        return records

    def _answer(self, i: int, liar: int, frame: bytes) -> None:
        """A liar serves what it made, mostly."""
        asked = wire.decode_request(frame) if frame[0] == FrameType.REQUEST else []
        for digest in () if isinstance(asked, Reject) else asked:
            event = self.forger.by_digest.get(digest)
            if event is not None and self.rng.random() < 0.8:
                delay = self.rng.randint(MS // 10, 5 * MS)
                self._put(self.now + delay, i, Received(liar, (wire.encode_event(event),)))

    def _members(self) -> list[int]:
        """Those that live and order."""
        down = sorted(i for i in self.down - self.puppets if i < self.n)
        return [i for i in self.live if i < self.n] or [self._come_back(self.rng.choice(down))]

    def _other(self, i: int) -> int:
        """From whom a frame to peer i comes."""
        observers = [j for j in range(self.n, self.size) if j != i]
        if observers and self.rng.random() < FROM_OBSERVERS:
            return self.rng.choice(observers)
        return self._other_member(i)

    def _other_member(self, i: int) -> int:
        """From whom an event for peer i comes."""
        others = [j for j in self.liars or range(self.n) if j != i] or [j for j in range(self.n) if j != i]
        return self.rng.choice(others)

    def _give(self, i: int, sender: int, *frames: bytes) -> None:
        self.step(i, Received(sender, frames))

    # -- actions ----------------------------------------------------------------------------------------

    def _submit(self) -> None:
        rng, most = self.rng, self.network.max_transaction_bytes
        count = rng.choice((1, 1, 1, 3, 20))
        sizes = [rng.choice((0, 1, 8, 8, 100, 600, most - 1 - rng.randrange(9), most)) for _ in range(count)]
        self.submit(rng.choice(self._members()), *(rng.randbytes(min(size, most)) for size in sizes))

    def _propose(self) -> None:
        """A peer asks for a sync point, seldom an observer, which is not heard."""
        i = self.rng.choice(self._live())
        proposals = [some_proposal(self.rng, self.now) for _ in range(self.rng.choice((1, 1, 2)))]
        self.step(i, *(Propose(encode_proposal(proposal)) for proposal in proposals))

    def _propose_many(self) -> None:
        """More than a creator may have open."""
        body = [some_proposal(self.rng, self.now, SyncPointKind.CUSTOM) for _ in range(MAX_PROPOSALS + 2)]
        bodies = [
            each._replace(salt=salt, deadline=self.now + 5_000 * MS, metadata=b"") for salt, each in enumerate(body)
        ]
        self.step(self.rng.choice(self._members()), *(Propose(encode_proposal(each)) for each in bodies))

    def _propose_the_end(self) -> None:
        """The end of all, to which most agree, with something else open."""
        rng, i = self.rng, self.rng.choice(self._members())
        proposal = some_proposal(rng, self.now, SyncPointKind.END)._replace(deadline=self.now + 50_000 * MS)
        body = encode_proposal(proposal)
        self.step(i, Propose(body), Propose(encode_proposal(proposal._replace(kind=SyncPointKind.CUSTOM))))
        self.run(200 * MS)
        self._vote_for(proposal_id(self.machines[0].committee.epoch_id, i, body), 0.9)

    def _propose_and_vote(self) -> None:
        """A proposal that most have heard of when they vote, most of them alike."""
        rng, i = self.rng, self.rng.choice(self._members())
        deadline, salt = self.now + 50_000 * MS, rng.getrandbits(64)
        body = encode_proposal(Proposal(SyncPointKind.CUSTOM, deadline, salt, b""))
        self.step(i, Propose(body))
        self.run(100 * MS)
        self._vote_for(proposal_id(self.machines[0].committee.epoch_id, i, body), rng.choice((1.0, 0.5, 0.05, 0.0)))

    def _vote(self) -> None:
        """Most vote for a proposal, or against it; some twice, and not the same."""
        self._vote_for(self.forger.some_id(), self.rng.choice((1.0, 1.0, 0.8, 0.5, 0.0)))

    def _vote_for(self, id: bytes, likely: float) -> None:
        rng = self.rng
        for i in self._live():
            for _ in range(rng.choice((0, 1, 1, 1, 1, 2))):
                self.step(i, Vote(id, rng.random() < likely))

    def _attest(self) -> None:
        """Some say what state they have behind one checkpoint, most of them the same."""
        rng = self.rng
        known = list(self.machines[rng.choice(self._live())].replica.checkpoints._ours)[-3:]
        index = rng.choice(known) if known and rng.random() < 0.9 else rng.choice((rng.randrange(99), 2**64 - 1))
        state = rng.choice(STATES)
        live = self._live()
        odd = rng.choice((None, rng.choice(live), rng.choice(live)))
        for i in live:
            if rng.random() < 0.95:
                self.step(i, Attest(index, rng.choice(STATES) if i == odd else state))
        if rng.random() < 0.5:
            self.run(100 * MS)
            self.step(rng.choice(self._live()), Certify(index))

    def _contradict(self) -> None:
        """All liars say that the order was another one at the newest checkpoint of somebody."""
        live = self._live()
        machine = self.machines[self.rng.choice(live)]
        for creator in self.liars:
            frame = self.forger.event(
                machine, creator, self.now, "contradiction", machine.replica.dag.frontier[creator] + 1
            )
            for i in live:
                if i not in (creator, *self.down):
                    self._give(i, creator, frame)

    def _certify(self) -> None:
        rng = self.rng
        i = rng.choice(self._live())
        delivered = self.machines[i].replica.orderer.index
        wanted = [rng.choice((0, max(0, delivered - rng.randrange(60)), delivered, delivered + 9, 2**64 - 1))]
        self.step(i, *map(Certify, wanted * rng.choice((1, 1, 3))))

    def _lie(self) -> None:
        """An event that a liar, or seldom anybody, signed; shown to some."""
        rng = self.rng
        creator = rng.choice(self.liars)
        live = self._live()
        machine = self.machines[rng.choice(live)]
        reach = rng.choice((1.0, 0.5, 0.2))
        for _ in range(rng.choice((1, 1, 2, 3))):
            frame = self.forger.event(machine, creator, self.now)
            self.seen.append(frame)
            for i in live:
                if i not in (creator, *self.down) and rng.random() < reach:
                    self._give(i, creator if rng.random() < 0.9 else self._other(i), frame)

    def _split(self) -> None:
        """A liar shows each half of the others another variant, neither of which has anything else wrong with it."""
        rng, live = self.rng, self._live()
        creator, machine = rng.choice(self.liars), self.machines[rng.choice(live)]
        round = machine.replica.dag.top + rng.choice((0, 0, 1))
        one, two = (self.forger.event(machine, creator, self.now, "honest", round) for _ in range(2))
        rng.shuffle(live)
        half = rng.choice((len(live) // 2, len(live) // 2, 1))
        for place, i in enumerate(live):
            if i not in (creator, *self.down):
                self._give(i, creator, one if place < half else two)

    def _burst(self) -> None:
        """Many frames in one step, old and new, good and bad."""
        if self.n == 1:
            return
        rng = self.rng
        i = rng.choice(self._live())
        creators = [creator for creator in self.liars if creator != i]
        frames = [
            self.forger.event(self.machines[i], rng.choice(creators), self.now)
            for _ in range(rng.choice((0, 4, BURST)) if creators else 0)
        ]
        frames += [rng.choice(self.seen) for _ in range(rng.choice((3, 20))) if self.seen]
        frames += [mutated(rng, frame, self.seen) for frame in rng.sample(frames, min(3, len(frames)))]
        frames += [rng.choice(frames) for _ in range(3) if frames]
        rng.shuffle(frames)
        self._give(i, self._other(i), *frames)

    def _junk(self) -> None:
        rng = self.rng
        if self.n == 1:
            return
        i = rng.choice(self._live())
        frames = [junk(rng) if rng.random() < 0.5 or not self.seen else rng.choice(self.seen) for _ in range(3)]
        self._give(i, self._other(i), *(mutated(rng, frame, self.seen) for frame in frames))

    def _wild_request(self) -> None:
        rng = self.rng
        if self.n == 1:
            return
        i = rng.choice(self._live())
        known = [*self.machines[i].replica.dag._by_digest, *list(self.forger.by_digest)[-50:], rng.randbytes(32)]
        count = rng.choice((1, 2, 3, 20, 256))
        frame = wire.encode_request([rng.choice(known) for _ in range(count)])
        if rng.random() < 0.2:
            frame = mutated(rng, frame)
        if rng.random() < 0.1:
            frame = frame[:1] + rng.choice((0, 257, 65535)).to_bytes(2, "little") + frame[3:] + bytes(32)
        self._give(i, self._other(i), frame)

    def _wild_frontier(self) -> None:
        rng = self.rng
        if self.n == 1:
            return
        i = rng.choice(self._live())
        dag = self.machines[i].replica.dag
        numbers = (0, 0, 1, dag.floor, dag.top, dag.top, dag.top + 1, dag.top + 50, 2**62, 2**64 - 1)
        rounds = [max(0, ours + rng.choice((-1, 0, 0, 1))) for ours in dag.frontier]
        if rng.random() < 0.6:
            rounds = [rng.choice(numbers) for _ in range(self.n)]
        frame = wire.encode_frontier(rng.choice((FrameType.FRONTIER, FrameType.PULL)), rounds)
        self._give(i, self._other(i), *([frame] * rng.choice((1, 1, 2))))

    def _again(self) -> None:
        """What was on some link before, from anybody."""
        if self.seen and self.n > 1:
            i = self.rng.choice(self._live())
            self._give(i, self._other(i), *(self.rng.choice(self.seen) for _ in range(3)))

    def _relink(self) -> None:
        rng = self.rng
        live = self._live()
        if len(live) < 2:
            return
        i, j = rng.sample(live, 2)
        if rng.random() < 0.2:  # one side only, or twice
            self.step(i, rng.choice((Connected(j), Disconnected(j))))
        elif (min(i, j), max(i, j)) in self.links:
            self.cut(i, j)
        else:
            self.link(i, j)

    def _crash_or_restart(self) -> None:
        rng = self.rng
        if self.down - self.puppets and rng.random() < 0.7:
            self._come_back(rng.choice(sorted(self.down - self.puppets)))
        else:
            i = rng.choice(self._live())
            self.crash(i)
            if rng.random() < 0.3 and self.journals[i]:  # the end of the journal is lost
                self.journals[i] = self.journals[i][: rng.randrange(len(self.journals[i]))]

    def _bad_journal(self) -> None:
        """A restart with records that nobody wrote like that."""
        rng = self.rng
        i = rng.choice(self._live())
        if not self.journals[i]:
            return
        self.crash(i)
        good = list(self.journals[i])
        records = list(good)
        at = rng.randrange(len(records))
        match rng.choice(("mutate", "mutate", "double", "positions", "foreign", "empty")):
            case "mutate":
                records[at] = self._near(mutated(rng, records[at]))
            case "double":
                records.insert(rng.randrange(len(records) + 1), records[at])
            case "positions":
                record = decode_record(records[at])
                assert isinstance(record, OwnEvent)
                wild = [Position(rng.choice((0, 1, 2, 2**32 - 1)), rng.choice((0, 1, 2**32 - 1))) for _ in range(3)]
                records[at] = encode_own_event(record.frame, wild)
            case "foreign":
                records[at] = rng.choice(self.journals[rng.randrange(self.n)] or [b""])
            case _:
                records[at] = b""
        self.journals[i] = records
        self.good[i] = good
        self.tally.events["restart"] += 1
        self.restart(i)
        if i not in self.broken:
            self.good.pop(i, None)
        self.journals[i] = list(good) if i in self.broken else self.journals[i]

    def _near(self, record: bytes) -> bytes:
        """The record, unless it says to be of a round so high that the rows below it alone fill the memory.

        A journal is believed: neither core looks for parents or a signature in what it wrote itself.
        """
        decoded = decode_record(record)
        if isinstance(decoded, State):  # what it says is believed, too
            return record[: self.rng.randrange(1, len(record) + 1)] if self.rng.random() < 0.5 else record[:1]
        if isinstance(decoded, Place) and decoded.round > 5_000:
            return record[:-1]
        if isinstance(decoded, OwnEvent | PeerEvent):
            event = wire.decode_event(decoded.frame, self.machines[0].committee.epoch_id, self.network)
            if isinstance(event, Event) and event.round > 5_000:
                return record[:-1]
        return record

    def _mute(self) -> None:
        if self.muted and self.rng.random() < 0.4:
            self.muted.clear()
        else:
            self.muted.add(self.rng.randrange(self.n))

    def _hide(self) -> None:
        """Nobody hears of a peer's events until they are too old (O11)."""
        for i in sorted(self.down - self.puppets):
            self._come_back(i)
        rng, live = self.rng, self._members()
        for i, j in itertools.combinations(live, 2):
            if (i, j) not in self.links:
                self.link(i, j)
        if len(live) - 1 < self.machines[0].committee.q:
            return
        i = rng.choice(live)
        self.muted = {i}
        self.submit(i, b"hidden %d" % rng.getrandbits(32), b"")
        for _ in range(5 * self.network.gc_depth):
            self.submit(rng.choice(live), b"seen")
            self.run(8 * MS)
        self.muted.clear()

    def _jump(self) -> None:
        self.now += self.rng.choice((50 * MS, 700 * MS, 3_000 * MS, 10**12, 10**15))
        self.tally.events["clock jump"] += 1

    def _slow_down(self) -> None:
        self.persist_ns = self.rng.choice((0, 0, MS, 30 * MS, 2_000 * MS))
        self.tally.events["late persist"] += self.persist_ns > MS

    def _twin(self) -> None:
        """Another process has our key (R5)."""
        i = self.rng.choice(self._members())
        if self.n == 1:
            return
        frame = self.forger.event(self.machines[i], i, self.now, self.rng.choice(("none", "fork", "evidence")))
        self._give(i, self._other(i), frame)

    def _greedy(self) -> None:
        """More asked for than the budget allows (F1)."""
        if self.n == 1:
            return
        i = self.rng.choice(self._members())
        self.submit(i, bytes(self.network.max_transaction_bytes))
        self.run(30 * MS)
        nodes = [node for row in self.machines[i].replica.dag.rows.values() for node in row.nodes]
        large = max(nodes, key=lambda node: node.event.size, default=None)
        if large is not None and large.event.size > 60_000 and i not in self.down:
            self._give(i, self._other(i), *([wire.encode_request([large.digest] * 256)] * 2))

    def _flood(self) -> None:
        """Events that wait for what will never come, until the sender's share is full (V7)."""
        rng, q = self.rng, self.machines[0].committee.q
        if self.n < 4:
            return
        i = rng.choice(self._live())
        machine, sender = self.machines[i], self._other_member(i)
        top = machine.replica.dag.top
        frames = []
        for count in range(min(400, MAX_MISSING // q + 20) if q > 8 else 40):
            round = top + rng.randint(2, self.network.max_ahead)
            ghosts = [Parent(by, round - 1, rng.randbytes(32)) for by in range(q)]
            frames.append(self._signed(machine, sender, round, ghosts, count))
        self.tally.events["flood"] += 1
        before = machine.status().waiting_events
        for at in range(0, len(frames), 40):
            self._give(i, sender, *frames[at : at + 40])
        self.tally.events["evicted"] += machine.status().waiting_events < before + len(frames)

    def _refusals(self) -> None:
        """More invalid events than are remembered, then the first of them again, the ones still remembered first."""
        rng = self.rng
        i = rng.choice(self._live())
        machine, sender = self.machines[i], self._other_member(i)
        if not machine.replica.dag.row(1).variants[sender]:
            self._give(i, sender, self._signed(machine, sender, 1, (), 0))
        row = machine.replica.dag.row(1)
        roots = [variants[0] for variants in row.variants if variants]
        if len(roots) < machine.committee.q or machine.replica.dag.row(2).variants[sender]:
            return
        parents = [Parent(node.creator, 1, node.digest) for node in roots]
        frames = [self._signed(machine, sender, 2, parents, count, created_at=1) for count in range(4096 + 4)]
        for at in range(0, len(frames), 700):
            self._give(i, sender, *frames[at : at + 700])
        self._give(i, sender, *reversed(frames[:6]), *frames[-3:])
        self.tally.events["forgotten refusal"] += 1

    def _signed(
        self,
        machine: Any,
        creator: int,
        round: int,
        parents: Sequence[Parent],
        salt: int,
        created_at: int | None = None,
    ) -> bytes:
        """A plain event, signed."""
        at = self.now if created_at is None else created_at
        header = wire.encode_header(machine.committee.epoch_id, creator, round, at, salt, parents, (), ())
        signature = self.forger.signers[creator].sign(wire.DOMAIN_EVENT + wire.event_digest(header))
        return bytes((FrameType.EVENT,)) + header + signature

    def _many_transactions(self) -> None:
        """More in the queue than one event takes, by number."""
        if self.network.max_payload_bytes >= 4 * MAX_TRANSACTIONS:
            self.submit(self.rng.choice(self._members()), *([b""] * (MAX_TRANSACTIONS + 5)))
            self.tally.events["full event"] += 1

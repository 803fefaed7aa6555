"""Of several variants of a slot one is built on, whichever comes first: but one that V8 allows."""

from __future__ import annotations

from syncpoint.core import wire
from syncpoint.core.config import Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer
from syncpoint.core.error import Reject
from syncpoint.core.input import Connected, Received
from syncpoint.core.values import Event, Parent
from syncpoint.core.wire import FrameType

from .virtual import MS, Cluster, seeds

LIAR = 3


class Alone:
    """Peer 0 of four; what the others make is signed here, the last one of them forks."""

    def __init__(self, core: str, network: Network = Network()) -> None:
        self.cluster = Cluster(4, linked=False, network=network, core=core)
        self.cluster.down = {1, 2, LIAR}
        for other in (1, 2, LIAR):
            self.cluster.links.add((0, other))
            nothing = wire.encode_frontier(FrameType.FRONTIER, [0] * 4)
            self.cluster.step(
                0, Connected(other), Received(other, (nothing,))
            )  # it has signed nothing, as they know (R1)

    def give(self, *events: Event) -> None:
        """Let it receive these."""
        self.cluster.step(0, Received(1, tuple(map(wire.encode_event, events))))

    def own(self, round: int) -> Event:
        """What it makes for a round."""
        cluster = self.cluster

        def found() -> list[Event]:
            frames = [frame for _, _, to, frame in cluster.frames if to == 1 and frame[0] == FrameType.EVENT]
            events = (wire.decode_event(frame, cluster.epoch_id, cluster.network) for frame in frames)
            return [event for event in events if isinstance(event, Event) and event.round == round]

        cluster.run_until(lambda: bool(found()), within=10_000 * MS)
        return found()[0]

    def sign(self, creator: int, round: int, *parents: Event, salt: int = 0) -> Event:
        """An event of another one."""
        at = self.cluster.now + round
        references = tuple(sorted(Parent(parent.creator, parent.round, parent.digest) for parent in parents))
        header = wire.encode_header(self.cluster.epoch_id, creator, round, at, salt, references, (), ())
        digest = wire.event_digest(header)
        signature = Signer(seeds(4)[creator]).sign(DOMAIN_EVENT + digest)
        return Event(creator, round, at, references, (), (), header, digest, signature)


def test_another_variant_does_where_the_first_one_shows_a_fork(core: str) -> None:  # P6, V8
    alone = Alone(core)
    alone.cluster.submit(0, b"to be ordered")
    own = alone.own(1)
    one, two = alone.sign(1, 1), alone.sign(2, 1)
    first, second = alone.sign(LIAR, 1, salt=1), alone.sign(LIAR, 1, salt=2)
    alone.give(one, two, first)
    then = alone.own(2)
    assert {parent.digest for parent in then.parents} == {event.digest for event in (own, one, two, first)}
    honest = alone.sign(1, 2, own, one, two, first)
    bad, good = alone.sign(LIAR, 2, own, one, two, second), alone.sign(LIAR, 2, own, one, two, first, salt=3)
    alone.give(bad, second)  # this variant is here first, and beside the others it shows that the liar forked
    alone.give(honest, alone.sign(1, 3, then, honest, good), good)
    last = alone.own(3)
    assert {parent.digest for parent in last.parents} == {event.digest for event in (then, honest, good)}


def test_a_second_variant_of_an_epoch_that_is_over_is_taken_from_who_is_through(core: str) -> None:  # F2
    """What closed it can be an event that nobody refers to, in a slot of which we have another one."""
    alone = Alone(core)
    variants = [alone.sign(LIAR, 1, salt=salt) for salt in range(4)]
    rejects = alone.cluster.rejects

    def take(sender: int, event: Event) -> bool:
        before = len(rejects)
        alone.cluster.step(0, Received(sender, (wire.encode_event(event),)))
        assert [each[2] for each in rejects[before:]] in ([], [Reject.EQUIVOCATION])
        return len(rejects) == before

    assert take(1, variants[0])
    assert not take(1, variants[1])
    through = wire.encode_frontier(FrameType.FRONTIER, [1] * 4, 1)
    alone.cluster.step(0, Received(1, (through,)))
    assert not take(1, variants[1]), "one alone may be a liar"
    alone.cluster.step(0, Received(2, (through,)))
    assert not take(LIAR, variants[1]), "it is in this epoch, for all that it says"
    assert take(1, variants[1])
    assert take(2, variants[2])
    assert alone.cluster.machines[0].status().events == 3


def test_who_left_rounds_out_goes_back_where_nobody_can_build_on_the_last_one(core: str) -> None:  # P6, V8, 0015
    """Its event of that round is what the others lack there: of the liar's they can take none."""
    alone = Alone(core, Network(gc_depth=8))
    alone.cluster.submit(0, b"to be ordered")
    alone.own(1)
    row = [alone.sign(creator, 1) for creator in (1, 2, LIAR)]
    events = [*row]
    for round in range(2, 8):  # so many that it leaves some of them out
        below, row = row, [alone.sign(creator, round, *row) for creator in (1, 2, LIAR)]
        events += row
    fork = alone.sign(LIAR, 7, *below, salt=1)
    last = [alone.sign(1, 8, *row), alone.sign(2, 8, row[0], row[1], fork), alone.sign(LIAR, 8, *row)]
    alone.give(*events, *last, fork)  # it is taken since something refers to it
    made = alone.own(8)
    assert [parent.round for parent in made.parents if parent.creator in (1, 2)] == [7, 7]

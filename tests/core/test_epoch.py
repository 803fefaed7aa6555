"""Proposals and votes, counted where they are delivered, and the sync points that come of them (S)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from syncpoint.core.committee import Committee
from syncpoint.core.crypto import blake3
from syncpoint.core.epoch import (
    DOMAIN_SESSION,
    MAX_DEADLINE_NS,
    MAX_PROPOSALS,
    NO_PROPOSAL,
    Ballot,
    Epoch,
    Outcome,
    sync_point_digest,
)
from syncpoint.core.items import (
    MAX_METADATA_BYTES,
    Proposal,
    decode_proposal,
    encode_proposal,
    encode_vote,
    proposal_id,
)
from syncpoint.core.items import Vote as Said
from syncpoint.core.order import Orderer
from syncpoint.core.values import Delivered, Event, Item, ItemType, SyncPoint, SyncPointKind
from syncpoint.errors import CorruptError

from .virtual import MS

SECOND = 1_000 * MS
SIZES = [1, 2, 4, 7]


class Order:
    """An epoch that is fed with events as if they were delivered, without a DAG below it."""

    def __init__(self, n: int = 4, epoch_ms: int = 0) -> None:
        self.committee = Committee(n, None, blake3(b"epoch"))
        self.orderer = Orderer(self.committee, "fair", 200)
        self.epoch = Epoch(self.committee, epoch_ms * MS)
        self.points: list[SyncPoint] = []
        self.outcomes: dict[bytes, Outcome] = {}
        self._round = 0

    def deliver(self, creator: int, *items: Item, at: int = 0, transactions: tuple[bytes, ...] = ()) -> None:
        """The next event, at this consensus time or right behind the last one."""
        digest = blake3(b"event %d" % self.orderer.index)
        event = Event(creator, 1, 0, (), items, transactions, b"", digest, bytes(64))
        index = self.orderer.place(digest, at)
        done = Delivered(event, (), index, self.orderer.consensus_at, self.orderer.order_hash, bytes(64), 1, ())
        self.epoch.count(done)

    def close(self) -> list[SyncPoint]:
        """The end of the batch; its sync points."""
        self._round += 1
        points = self.epoch.close(self._round, self.orderer)
        self.points += points
        self.outcomes |= {ballot.id: how for ballot, how in self.epoch.take_news() if how is not None}
        return points

    def propose(self, creator: int, body: bytes) -> bytes:
        """An event that proposes; the id."""
        self.deliver(creator, Item(ItemType.PROPOSE, body))
        return proposal_id(self.committee.epoch_id, creator, body)

    def vote(self, id: bytes, creators: Iterable[int], approves: bool = True) -> None:
        """An event of each with its vote."""
        for creator in creators:
            self.deliver(creator, vote(id, approves))

    def restored(self) -> Order:
        """The same after a restart."""
        again = Order(self.committee.n, self.epoch._epoch_ns // MS)
        again.orderer = self.orderer
        again.epoch.restore(self.epoch.encode())
        return again


def vote(id: bytes, approves: bool = True) -> Item:
    return Item(ItemType.VOTE, encode_vote(Said(id, approves)))


def body(
    kind: int = SyncPointKind.CUSTOM, *, deadline: int = SECOND, salt: int = 0, metadata: bytes = b"about"
) -> bytes:
    return encode_proposal(Proposal(kind, deadline, salt, metadata))


def ids(ballots: Iterable[Ballot]) -> list[bytes]:
    return [ballot.id for ballot in ballots]


def opened(order: Order) -> list[bytes]:
    """The ids of proposals that are said to be open."""
    return [ballot.id for ballot, how in order.epoch.take_news() if how is None]


# -- adopting (S2) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_q_approvals_adopt_at_the_end_of_the_batch(n: int) -> None:
    order = Order(n)
    q = order.committee.q
    id = order.propose(0, body())  # which approves it
    assert order.close() == [] or q == 1
    order.vote(id, range(1, q - 1))
    assert order.close() == []
    if q > 1:
        assert id in order.epoch.open
        order.vote(id, [q - 1])
        order.deliver(0)  # the rest of the batch comes before the sync point
        before = order.orderer.index
        (point,) = order.close()
    else:
        (point,), before = order.points, 1
    assert (point.index, order.orderer.index) == (before, before + 1)
    assert (point.kind, point.metadata, point.proposal, point.proposer) == (SyncPointKind.CUSTOM, b"about", id, 0)
    assert (point.approvals, point.epoch_index) == ((1 << q) - 1, 1)
    assert order.outcomes == {id: Outcome.ADOPTED}
    assert order.epoch.open == {}


def test_a_sync_point_has_a_time_and_a_link_in_the_order_hash() -> None:  # O8, O9
    order, other = Order(), Order()
    for each, metadata in ((order, b"a"), (other, b"b")):
        id = each.propose(0, body(metadata=metadata))
        each.vote(id, [1, 2])
        time = each.orderer.consensus_at
        (point,) = each.close()
        assert point.consensus_at == each.orderer.consensus_at == time + 1
        assert point.order_hash == each.orderer.order_hash
        assert point.digest == sync_point_digest(point.kind, 1, id, 0, 0b111, metadata)
    assert order.orderer.order_hash != other.orderer.order_hash
    contents = [
        (7, 1, b"i" * 32, 0, 1, b"m"), (8, 1, b"i" * 32, 0, 1, b"m"), (7, 2, b"i" * 32, 0, 1, b"m"),
        (7, 1, b"j" * 32, 0, 1, b"m"), (7, 1, b"i" * 32, None, 1, b"m"), (7, 1, b"i" * 32, 0, 3, b"m"),
        (7, 1, b"i" * 32, 0, 1, b"n"),
    ]  # fmt: skip
    assert len({sync_point_digest(*content) for content in contents}) == len(contents)


def test_several_come_in_the_order_in_which_they_reached_q() -> None:  # S2, S7
    order = Order()
    first, second, third = (order.propose(0, body(salt=salt)) for salt in range(3))
    order.vote(third, [1, 2])
    order.vote(first, [1])
    order.vote(second, [3, 1])
    order.vote(first, [2, 3])
    assert [point.proposal for point in order.close()] == [third, second, first]
    assert [point.epoch_index for point in order.points] == [1, 2, 3]
    assert order.points[2].approvals == 0b1111, "who approved in the same batch is named too"
    assert [point.index for point in order.points] == list(range(10, 13))


def test_a_session_gets_its_name_from_the_order_up_to_its_sync_point() -> None:  # S3
    order = Order()
    assert order.epoch.session_id == order.committee.epoch_id
    for kind in (SyncPointKind.SNAPSHOT, SyncPointKind.SESSION, SyncPointKind.CUSTOM, SyncPointKind.SESSION):
        id = order.propose(1, body(kind, salt=order.orderer.index))
        order.vote(id, [0, 2])
        order.close()
    snapshot, one, custom, two = order.points
    assert snapshot.session_id == order.committee.epoch_id
    assert one.session_id == custom.session_id == blake3(DOMAIN_SESSION + one.order_hash)
    assert two.session_id == blake3(DOMAIN_SESSION + two.order_hash)


# -- refusing and expiring (S2) -------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_more_than_f_refusals_refuse(n: int) -> None:
    order = Order(n)
    f = order.committee.f
    id = order.propose(0, body())
    if order.committee.q == 1:
        assert order.close()
        return
    order.vote(id, range(n - f, n), approves=False)
    assert order.close() == []
    assert id in order.epoch.open
    order.vote(id, [n - f - 1], approves=False)
    assert order.close() == []
    assert order.outcomes == {id: Outcome.REFUSED}
    order.vote(id, range(n))
    assert order.close() == [], "what is refused is not adopted any more"


def test_it_expires_where_the_first_event_past_its_deadline_is_delivered() -> None:  # S2
    order = Order()
    late, later = (order.propose(0, body(deadline=deadline)) for deadline in (50, 51))
    order.vote(late, [1])
    order.deliver(0, at=50)
    order.close()
    assert order.outcomes == {}, "not at its deadline"
    order.deliver(2, vote(late), vote(later))  # the vote that would adopt it comes too late
    order.close()
    assert order.outcomes == {late: Outcome.EXPIRED}
    assert ids(order.epoch.open.values()) == [later]
    order.vote(later, [1], approves=True)
    order.close()
    assert order.outcomes == {late: Outcome.EXPIRED, later: Outcome.EXPIRED}
    assert order.points == []


def test_what_has_reached_q_does_not_expire_before_the_end_of_its_batch() -> None:  # S2
    order = Order()
    id = order.propose(0, body(deadline=50))
    order.vote(id, [1, 2])
    order.deliver(3, at=51)
    assert [point.proposal for point in order.close()] == [id]


def test_a_deadline_must_be_ahead_and_not_too_far() -> None:
    order = Order()
    order.deliver(0, at=1_000)
    past = order.propose(1, body(deadline=1_001))  # its own place
    far = order.propose(1, body(deadline=1_002 + MAX_DEADLINE_NS + 1))
    most = order.propose(1, body(deadline=1_003 + MAX_DEADLINE_NS))
    order.close()
    assert order.outcomes == {past: Outcome.EXPIRED, far: Outcome.INVALID}
    assert ids(order.epoch.open.values()) == [most]


@pytest.mark.parametrize("kind", [0, SyncPointKind.MEMBERSHIP, SyncPointKind.KEY_ROTATION, SyncPointKind.CONFIG, 9])
def test_other_kinds_cannot_be_proposed(kind: int) -> None:
    order = Order()
    id = order.propose(0, body(kind))
    order.vote(id, [1, 2, 3])
    assert order.close() == []
    assert order.outcomes == {id: Outcome.INVALID}


def test_a_creator_has_so_many_proposals_open_or_remembered() -> None:
    order = Order()
    known = [
        order.propose(0, body(salt=salt, deadline=MAX_PROPOSALS + 80 + 10 * salt // 9)) for salt in range(MAX_PROPOSALS)
    ]
    order.vote(known[0], [1, 2])  # it is decided, and remembered
    order.vote(known[1], [1, 2], approves=False)
    over = order.propose(0, body(salt=99))
    other = order.propose(1, body(salt=99))
    order.close()
    assert order.outcomes[over] == Outcome.TOO_MANY
    assert other in order.epoch.open
    order.deliver(0, at=MAX_PROPOSALS + 83)  # past the deadlines of the first two: they are forgotten
    first, second, third = (order.propose(0, body(salt=salt)) for salt in (97, 98, 99))
    order.close()
    assert {first, second} <= set(order.epoch.open)
    assert order.outcomes[third] == Outcome.TOO_MANY


def test_what_is_forgotten_at_a_refused_proposal_is_a_change_too() -> None:
    order = Order()
    order.propose(0, body(deadline=30))
    for salt in range(MAX_PROPOSALS):
        order.propose(1, body(salt=salt))
    order.deliver(0, at=31)
    order.close()
    order.epoch.take_changes()
    over = order.propose(1, body(salt=99))
    order.close()
    assert order.outcomes[over] == Outcome.TOO_MANY
    assert order.epoch.take_changes() == order.epoch.encode() == order.restored().epoch.encode()


# -- what does not count (S1) ---------------------------------------------------------------------------


def test_of_several_votes_of_one_creator_the_first_counts() -> None:
    order = Order()
    id = order.propose(0, body())
    order.vote(id, [1, 1, 1, 0, 0])
    order.vote(id, [1, 0], approves=False)
    order.close()
    assert (order.epoch.open[id].approvals, order.epoch.open[id].refusals) == (0b11, 0)
    order.vote(id, [2], approves=False)
    order.vote(id, [2])
    assert order.close() == []
    assert (order.epoch.open[id].approvals, order.epoch.open[id].refusals) == (0b11, 0b100)


def test_a_vote_before_its_proposal_does_not_count() -> None:
    order = Order()
    text = body()
    id = proposal_id(order.committee.epoch_id, 0, text)
    order.vote(id, [1, 2, 3])
    order.deliver(0, vote(id, False), Item(ItemType.PROPOSE, text), vote(id, False))
    assert order.close() == []
    assert (order.epoch.open[id].approvals, order.epoch.open[id].refusals) == (1, 0)


def test_what_is_malformed_is_ignored() -> None:
    order = Order()
    id = order.propose(0, body())
    state = order.epoch.encode()
    fixed = len(body(metadata=b""))
    for item in (
        Item(ItemType.PROPOSE, b""),
        Item(ItemType.PROPOSE, bytes(fixed - 1)),
        Item(ItemType.PROPOSE, body(metadata=bytes(MAX_METADATA_BYTES)) + b"x"),
        Item(ItemType.VOTE, b""),
        Item(ItemType.VOTE, vote(id).body[:-1]),
        Item(ItemType.VOTE, vote(id).body + b"\x01"),
        Item(ItemType.VOTE, id + b"\x02"),
        Item(99, vote(id).body),
        Item(ItemType.CHECKPOINT_VOTE, b"?"),
    ):
        order.deliver(1, item)
    assert order.close() == []
    assert order.outcomes == {}
    assert order.epoch.encode() == state
    assert decode_proposal(body(metadata=bytes(MAX_METADATA_BYTES))) is not None


def test_the_id_names_network_and_proposer() -> None:
    text, one, other = body(), blake3(b"one"), blake3(b"other")
    made = {proposal_id(epoch_id, creator, text) for epoch_id in (one, other) for creator in (0, 1)}
    assert len(made) == 4
    order = Order()
    first, second = order.propose(0, text), order.propose(1, text)
    assert ids(order.epoch.open.values()) == [first, second]


@pytest.mark.parametrize("outcome", [Outcome.ADOPTED, Outcome.REFUSED, Outcome.EXPIRED])
def test_a_proposal_that_is_repeated_after_its_decision_opens_nothing(outcome: Outcome) -> None:
    order = Order()
    text = body(deadline=40)
    id = order.propose(0, text)
    assert opened(order) == [id]
    assert order.propose(0, text) == id, "not while it is open either"
    if outcome == Outcome.EXPIRED:
        order.deliver(1, at=41)
    else:
        order.vote(id, [1, 2], approves=outcome == Outcome.ADOPTED)
    order.close()
    assert order.outcomes == {id: outcome}
    again = order.restored()
    for each in (order, again):
        decided = each.outcomes.copy()
        for _ in range(2):
            each.propose(0, text)
            each.vote(id, [1, 2, 3])
            assert each.close() == []
            assert each.epoch.open == {}
        assert each.outcomes == decided
        each.deliver(3, at=60)
        each.propose(2, body())  # what is past its deadline is forgotten when somebody proposes
        each.propose(0, text)
        assert each.close() == []
        assert each.outcomes == {**decided, id: Outcome.EXPIRED}
        assert id not in each.epoch.open


# -- END (S4) -------------------------------------------------------------------------------------------


def test_end_ends_everything() -> None:
    order = Order(epoch_ms=1)
    before, end, behind, left = (
        order.propose(0, body(kind, salt=salt))
        for salt, kind in enumerate((
            SyncPointKind.SESSION, SyncPointKind.END, SyncPointKind.CUSTOM, SyncPointKind.CUSTOM
        ))
    )  # fmt: skip
    order.deliver(0, at=2, transactions=(b"t",))
    order.vote(before, [1, 2])
    order.vote(end, [1, 2])
    order.vote(behind, [1, 2])
    order.deliver(0, at=2 + 2 * MS)
    assert [point.proposal for point in order.close()] == [before, end]
    assert order.outcomes == {
        before: Outcome.ADOPTED, end: Outcome.ADOPTED, behind: Outcome.ENDED, left: Outcome.ENDED
    }  # fmt: skip
    assert order.epoch.is_ended
    assert order.epoch.open == {}
    assert order.restored().epoch.is_ended is True


# -- beats (S5) -----------------------------------------------------------------------------------------


def test_a_beat_comes_so_long_after_the_first_transaction() -> None:
    order = Order(epoch_ms=10)
    order.deliver(0, at=5 * MS)  # nothing in it
    order.deliver(0, at=100 * MS)
    assert order.close() == [], "none while it idles"
    order.deliver(1, at=101 * MS, transactions=(b"t",))
    order.deliver(1, at=105 * MS, transactions=(b"u",))
    order.deliver(2, at=111 * MS - 1)
    assert order.close() == [], "not before"
    order = order.restored()
    order.deliver(3, at=111 * MS)
    (point,) = order.close()
    assert (point.kind, point.metadata, point.proposal) == (SyncPointKind.EPOCH, b"", NO_PROPOSAL)
    assert (point.proposer, point.approvals, point.epoch_index) == (None, 0, 1)
    order.deliver(3, at=500 * MS)
    assert order.close() == [], "and none again until something is sent"
    order.deliver(3, at=501 * MS, transactions=(b"v",))
    order.deliver(3, at=900 * MS)
    assert [point.epoch_index for point in order.close()] == [2]


def test_a_proposed_epoch_takes_the_place_of_the_beat() -> None:
    order = Order(epoch_ms=10)
    order.deliver(1, at=MS, transactions=(b"t",))
    id = order.propose(0, body(SyncPointKind.EPOCH))
    order.vote(id, [1, 2])
    order.deliver(1, at=20 * MS)
    assert [point.proposal for point in order.close()] == [id]


def test_without_epoch_ms_there_is_no_beat() -> None:
    order = Order()
    order.deliver(0, at=1, transactions=(b"t",))
    order.deliver(0, at=MAX_DEADLINE_NS, transactions=(b"t",))
    assert order.close() == []


# -- restarts (R1) --------------------------------------------------------------------------------------


def busy_order() -> Order:
    order = Order(epoch_ms=50)
    order.deliver(3, at=1, transactions=(b"t",))
    done = order.propose(0, body(SyncPointKind.SESSION, salt=1))
    order.vote(done, [1, 2])
    order.close()
    open = order.propose(1, body(salt=2, metadata=bytes(range(200))))
    order.vote(open, [0])
    order.vote(open, [3], approves=False)
    order.propose(2, body(SyncPointKind.END, salt=2**64 - 1, metadata=b""))
    order.close()
    return order


def test_the_state_goes_on_after_a_restart() -> None:
    order = busy_order()
    again = order.restored()
    assert again.epoch.encode() == order.epoch.encode()
    assert opened(again) == ids(order.epoch.open.values()), "they are told once more"
    assert again.epoch.take_changes() is None
    open = next(iter(order.epoch.open))
    for each in (order, again):
        each.orderer = Orderer(order.committee, "fair", 200)
        each.vote(open, [2])
        each.deliver(0, at=60 * MS)
        each.close()
    assert [point.digest for point in order.points[1:]] == [point.digest for point in again.points]
    assert [point.session_id for point in order.points[1:]] == [point.session_id for point in again.points]
    assert [point.kind for point in again.points] == [SyncPointKind.CUSTOM, SyncPointKind.EPOCH]
    assert order.epoch.encode() == again.epoch.encode()


def test_a_state_that_is_cut_or_too_long_is_refused() -> None:
    order = busy_order()
    state = order.epoch.encode()
    for end in range(len(state)):
        with pytest.raises(CorruptError):
            Epoch(order.committee, 0).restore(state[:end])
    with pytest.raises(CorruptError):
        Epoch(order.committee, 0).restore(state + b"\0")


def test_it_says_when_the_state_changed() -> None:
    order = Order(epoch_ms=10)

    def changed() -> bool:
        order.close()
        state = order.epoch.take_changes()
        assert state is None or state == order.epoch.encode()
        return state is not None

    order.deliver(0)
    assert not changed()
    id = order.propose(0, body(deadline=30))
    assert changed()
    order.vote(id, [1])
    assert changed()
    order.vote(id, [1])
    assert not changed()
    order.deliver(0, at=31)
    assert changed()
    order.propose(1, body(deadline=10))  # it is over before it begins
    assert not changed()
    order.propose(1, body(deadline=2 * SECOND))
    assert changed()
    order.deliver(0, transactions=(b"t",))
    assert changed()
    order.deliver(0, transactions=(b"t",))
    assert not changed()

"""What a machine says of itself, for people and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .error import Reject

if TYPE_CHECKING:
    from .replica import Replica

__all__ = ["Status", "status_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A snapshot of a machine; reading it changes nothing."""

    creator: int | None  # our index in the committee; None of an observer (Q4), and of who is no member
    epoch: int  # the number of the epoch, from 0
    peers: int  # n: observers do not count
    linked: tuple[int, ...]  # numbers of the peers with a live link, observers among them
    has_quorum: bool  # whether the linked peers that order, and we if we do, are at least q
    halted: str | None  # why we make no more events, None while we do
    recovering: bool  # whether we make no events yet, as our journal may lack some: q others have to answer (R2)
    catching_up: bool  # whether we make no events, as they would come too late for the others: we have to get on first
    stranded: bool  # whether no linked member has what we need next: it is farther back than they keep (R4)
    own_round: int  # of our newest event
    top_round: int  # the highest round with an event
    peers_round: int  # the highest round that f + 1 of the members say they have, as far as they have told
    closed_round: int  # everything up to here is decided
    floor_round: int  # rounds up to here were dropped
    frontier: tuple[int, ...]  # highest round of each creator
    events: int  # in memory
    delivered: int  # events and sync points, since the start of the network
    epoch_index: int  # sync points among them
    proposals: int  # that are open: delivered, and not decided (S1)
    ended: bool  # whether the session has ended: nothing is delivered any more (S4)
    order_hash: bytes  # after the last of them (O9)
    consensus_at: int  # ns, of the last of them
    queued_transactions: int  # submitted, in no event yet
    queued_bytes: int
    undelivered: bool  # whether something that carries anything is not delivered yet
    waiting_events: int  # received, parents missing
    waiting_bytes: int
    wanted_events: int  # missing parents
    timely: tuple[int, ...]  # creators that the pace waits for (P4)
    equivocators: tuple[int, ...]  # creators of whom two events for one slot were seen
    soft_wait_ns: int  # P4
    round_timeout_ns: int  # P3
    timeouts: int  # rounds that ended by the timeout
    own_events: int  # events made since the start
    resubmitted: int  # transactions put into a new event (O11)
    commits: tuple[int, int, int]  # slots committed by fast votes (D7), by certificates (D5, D7), by a later slot (D9)
    skips: tuple[int, int]  # slots skipped directly, by a later slot
    rejects: Mapping[Reject, int]


def status_of(replica: Replica) -> Status:
    """What a peer says of itself in the epoch that it is in."""
    proposer, fetcher, orderer, decider = replica.proposer, replica.fetcher, replica.orderer, replica.decider
    linked = tuple(fetcher.linked)
    return Status(
        creator=None if replica.observes else replica.own,
        epoch=replica.number,
        peers=replica.committee.n,
        linked=tuple(sorted(map(replica.peers.number_of, linked))),
        has_quorum=sum(peer < replica.committee.n for peer in (*linked, replica.own)) >= replica.committee.q,
        halted=replica.halted,
        recovering=replica.recovery.is_lost,
        catching_up=replica.recovery.is_behind,
        stranded=fetcher.is_stranded,
        own_round=proposer.own_round,
        top_round=replica.dag.top,
        peers_round=replica.recovery.peers_round,
        closed_round=decider.closed,
        floor_round=replica.dag.floor,
        frontier=tuple(replica.dag.frontier),
        events=len(replica.dag),
        delivered=orderer.index,
        epoch_index=replica.epoch.epoch_index,
        proposals=len(replica.epoch.open),
        ended=replica.epoch.is_ended,
        order_hash=orderer.order_hash,
        consensus_at=orderer.consensus_at,
        queued_transactions=proposer.queued,
        queued_bytes=proposer.queued_bytes,
        undelivered=orderer.has_undelivered,
        waiting_events=fetcher.waiting,
        waiting_bytes=fetcher.waiting_bytes,
        wanted_events=fetcher.wanted,
        timely=_creators(replica.timer.timely),
        equivocators=_creators(replica.equivocators),
        soft_wait_ns=replica.timer.soft_ns,
        round_timeout_ns=replica.timer.timeout_ns,
        timeouts=replica.timer.timeouts,
        own_events=proposer.made,
        resubmitted=proposer.resubmitted,
        commits=(decider.fast_commits, decider.certified_commits, decider.indirect_commits),
        skips=(decider.direct_skips, decider.indirect_skips),
        rejects=dict(replica.rejects),
    )


def _creators(bits: int) -> tuple[int, ...]:
    return tuple(creator for creator in range(bits.bit_length()) if bits >> creator & 1)

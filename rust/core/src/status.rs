//! What a machine says of itself, for people and metrics.

use std::collections::BTreeMap;

use crate::bits::creators_in;
use crate::error::Reject;
use crate::replica::Replica;
use crate::values::Digest;

/// A snapshot of a machine; reading it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Our index in the committee; None of an observer (Q4), and of who is no member.
    pub creator: Option<usize>,
    /// The number of the epoch, from 0.
    pub epoch: u32,
    /// n: observers do not count.
    pub peers: usize,
    /// Numbers of the peers with a live link, observers among them.
    pub linked: Vec<usize>,
    /// Whether the linked peers that order, and we if we do, are at least q.
    pub has_quorum: bool,
    /// Why we make no more events, None while we do.
    pub halted: Option<String>,
    /// Whether we make no events yet, as our journal may lack some: q others have to answer (R2).
    pub recovering: bool,
    /// Whether we make no events, as they would come too late for the others: we have to get on first.
    pub catching_up: bool,
    /// Whether no linked member has what we need next: it is farther back than they keep (R4).
    pub stranded: bool,
    /// Of our newest event.
    pub own_round: u64,
    /// The highest round with an event.
    pub top_round: u64,
    /// The highest round that f + 1 of the members say they have, as far as they have told.
    pub peers_round: u64,
    /// Everything up to here is decided.
    pub closed_round: u64,
    /// Rounds up to here were dropped.
    pub floor_round: u64,
    /// Highest round of each creator.
    pub frontier: Vec<u64>,
    /// In memory.
    pub events: usize,
    /// Events and sync points, since the start of the network.
    pub delivered: u64,
    /// Sync points among them.
    pub epoch_index: u64,
    /// That are open: delivered, and not decided (S1).
    pub proposals: usize,
    /// Whether the session has ended: nothing is delivered any more (S4).
    pub ended: bool,
    /// After the last of them (O9).
    pub order_hash: Digest,
    /// ns, of the last of them.
    pub consensus_at: u64,
    /// Submitted, in no event yet.
    pub queued_transactions: usize,
    /// As encoded.
    pub queued_bytes: usize,
    /// Whether something that carries anything is not delivered yet.
    pub undelivered: bool,
    /// Received, parents missing.
    pub waiting_events: usize,
    /// The same in bytes.
    pub waiting_bytes: usize,
    /// Missing parents.
    pub wanted_events: usize,
    /// Creators that the pace waits for (P4).
    pub timely: Vec<usize>,
    /// Creators of whom two events for one slot were seen.
    pub equivocators: Vec<usize>,
    /// P4.
    pub soft_wait_ns: u64,
    /// P3.
    pub round_timeout_ns: u64,
    /// Rounds that ended by the timeout.
    pub timeouts: u64,
    /// Events made since the start.
    pub own_events: u64,
    /// Transactions put into a new event (O11).
    pub resubmitted: u64,
    /// Slots committed by fast votes (D7), by certificates (D5, D7), by a later slot (D9).
    pub commits: (u64, u64, u64),
    /// Slots skipped directly, by a later slot.
    pub skips: (u64, u64),
    /// How often each reason came up.
    pub rejects: BTreeMap<Reject, u64>,
}

/// What a peer says of itself in the epoch that it is in.
#[must_use]
pub fn status_of(replica: &Replica) -> Status {
    let (proposer, fetcher, orderer, decider) =
        (&replica.proposer, &replica.exchange.fetcher, &replica.orderer, &replica.decider);
    let mut linked: Vec<usize> = fetcher.linked.iter().map(|&peer| replica.peers.number_of(peer)).collect();
    linked.sort_unstable();
    let orderers = fetcher.linked.iter().chain([&replica.own]).filter(|&&peer| peer < replica.committee.n).count();
    Status {
        creator: (!replica.observes).then_some(replica.own),
        epoch: replica.number,
        peers: replica.committee.n,
        has_quorum: orderers >= replica.committee.q,
        linked,
        halted: replica.halted.clone(),
        recovering: replica.exchange.recovery.is_lost,
        catching_up: replica.exchange.recovery.is_behind,
        stranded: fetcher.is_stranded(),
        own_round: proposer.own_round(),
        top_round: replica.dag.top,
        peers_round: replica.exchange.recovery.peers_round(),
        closed_round: decider.closed,
        floor_round: replica.dag.floor,
        frontier: replica.dag.frontier.clone(),
        events: replica.dag.len(),
        delivered: orderer.index,
        epoch_index: replica.epoch.epoch_index,
        proposals: replica.epoch.proposals(),
        ended: replica.epoch.is_ended,
        order_hash: orderer.order_hash,
        consensus_at: orderer.consensus_at,
        queued_transactions: proposer.queued(),
        queued_bytes: proposer.queued_bytes,
        undelivered: orderer.has_undelivered(),
        waiting_events: fetcher.waiting(),
        waiting_bytes: fetcher.waiting_bytes() as usize,
        wanted_events: fetcher.wanted(),
        timely: creators_in(replica.timer.timely).collect(),
        equivocators: creators_in(replica.equivocators).collect(),
        soft_wait_ns: replica.timer.soft_ns,
        round_timeout_ns: replica.timer.timeout_ns,
        timeouts: replica.timer.timeouts,
        own_events: proposer.made,
        resubmitted: proposer.resubmitted,
        commits: (decider.fast_commits, decider.certified_commits, decider.indirect_commits),
        skips: (decider.direct_skips, decider.indirect_skips),
        rejects: replica.rejects.clone(),
    }
}

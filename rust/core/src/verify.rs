//! Whether an event is valid: a pure function of the event, its ancestors and the committee (V1 to V8).

use crate::bits::{Creators, RowSet, creator as bit, creators_in};
use crate::committee::Committee;
use crate::crypto::DOMAIN_EVENT;
use crate::dag::{Dag, NodeRef};
use crate::error::Reject;
use crate::values::{Digest, Event};
use crate::wire;

/// Signatures from which on a second thread pays: to start and join it takes as long as to check about one.
pub const PARALLEL_SIGNATURES: usize = 8;

/// What can be checked without the event's ancestors: creator, parents' shape, signature (V1, V2, V3).
///
/// It is [`check_form`] and then [`check_signature`], which a batch has checked beforehand by [`check_signatures`].
///
/// # Errors
/// The first rule that it breaks.
pub fn check_event(event: &Event, committee: &Committee, gc_depth: u64) -> Result<(), Reject> {
    check_form(event, committee, gc_depth)?;
    // V1, last because it costs most.
    if check_signature(event, committee) { Ok(()) } else { Err(Reject::Signature) }
}

/// All of [`check_event`] but the signature.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_form(event: &Event, committee: &Committee, gc_depth: u64) -> Result<(), Reject> {
    if event.creator as usize >= committee.n {
        return Err(Reject::Creator);
    }
    check_parents(event, committee, gc_depth)
}

/// Whether the signature is its creator's (V1).
#[must_use]
pub fn check_signature(event: &Event, committee: &Committee) -> bool {
    is_signed(&event.digest, event.signature(), event.creator, committee)
}

/// [`check_signature`] of each event, in order, on at most `threads` threads, ours among them, and as there are.
#[must_use]
pub fn check_signatures(events: &[&Event], committee: &Committee, threads: usize) -> Vec<bool> {
    let check = |part: &[&Event]| -> Vec<bool> { part.iter().map(|event| check_signature(event, committee)).collect() };
    let threads = threads.min(events.len() / (PARALLEL_SIGNATURES / 2));
    if threads < 2 {
        return check(events);
    }
    let size = events.len().div_ceil(threads);
    let (ours, theirs) = events.split_at(size);
    std::thread::scope(|scope| {
        let spawn = |part| (part, std::thread::Builder::new().spawn_scoped(scope, move || check(part)));
        let others: Vec<_> = theirs.chunks(size).map(spawn).collect();
        let mut valid = check(ours);
        for (part, other) in others {
            valid.extend(match other {
                Ok(other) => other.join().expect("checking a signature does not panic"),
                Err(_) => check(part), // there may be no more threads: where we run is not ours to choose
            });
        }
        valid
    })
}

/// What needs the event's parents, which are all in the DAG: V3 to V5 and V8.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_ancestors(event: &Event, parents: &[NodeRef], dag: &Dag, gc_depth: u64) -> Result<(), Reject> {
    assert_eq!(parents.len(), event.parent_count(), "a parent is not in the DAG");
    let mut own = None;
    for (reference, &parent) in event.parents().zip(parents) {
        if reference.creator != dag.node(parent).creator || reference.round != parent.round {
            return Err(Reject::ParentMismatch);
        }
        if reference.creator == event.creator {
            own = Some(parent);
        }
    }
    if event.round > 1 && !is_latest(own, event, parents, dag, gc_depth) {
        return Err(Reject::SelfParent); // V4
    }
    if own.is_some_and(|own| event.created_at <= dag.node(own).created_at) {
        return Err(Reject::Time); // V5
    }
    let strong: Vec<NodeRef> = parents.iter().filter(|parent| parent.round + 1 == event.round).copied().collect();
    let liars = exposed(&strong, dag);
    if liars != 0 && strong.iter().any(|&parent| liars & bit(dag.node(parent).creator as usize) != 0) {
        return Err(Reject::ExposedAuthor); // V8
    }
    Ok(())
}

/// Bit set over creators: of whom two of these events have different variants as strong parents (V8).
///
/// The events are all of one round.
#[must_use]
pub fn exposed(strong: &[NodeRef], dag: &Dag) -> Creators {
    let Some(first) = strong.first() else { return 0 };
    let below = dag.row(first.round - 1);
    if below.forked == 0 {
        return 0;
    }
    let mut union = RowSet::new();
    for &node in strong {
        union.union_with(&dag.node(node).strong);
    }
    let is_exposed = |creator: &usize| {
        let variants = below.variants(*creator).iter();
        variants.filter(|&&variant| union.contains(variant as usize)).count() > 1
    };
    creators_in(below.forked).filter(is_exposed).fold(0, |bits, creator| bits | bit(creator))
}

/// These events of a round, and one each of further creators that may stand beside them (V8).
///
/// Of a creator that forked another variant may do where the one that came first does not.
#[must_use]
pub fn with_others(strong: &[NodeRef], left_out: Creators, dag: &Dag) -> Vec<NodeRef> {
    let mut chosen = strong.to_vec();
    let round = strong[0].round;
    let taken = strong.iter().fold(left_out, |set, &at| set | bit(dag.node(at).creator as usize));
    for creator in (0..dag.frontier.len()).filter(|&creator| taken & bit(creator) == 0) {
        let mut variants = dag.row(round).variants(creator).to_vec();
        variants.sort_unstable();
        for index in variants {
            chosen.push(NodeRef { round, index });
            let liars = exposed(&chosen, dag);
            if chosen.iter().all(|&at| liars & bit(dag.node(at).creator as usize) == 0) {
                break;
            }
            chosen.pop();
        }
    }
    chosen
}

/// The creator that an EVIDENCE item proves to have signed two events for one slot, None if it proves nothing.
#[must_use]
pub fn check_evidence(body: &[u8], committee: &Committee) -> Option<usize> {
    let [(first, first_signature), (second, second_signature)] = wire::decode_evidence(body).ok()?;
    let slot = wire::decode_header(first, &committee.epoch_id).ok()?;
    if slot != wire::decode_header(second, &committee.epoch_id).ok()? || slot.0 as usize >= committee.n {
        return None;
    }
    let (one, two) = (wire::event_digest(first), wire::event_digest(second));
    if one >= two {
        return None; // E4: the lower one first
    }
    let proves =
        is_signed(&one, first_signature, slot.0, committee) && is_signed(&two, second_signature, slot.0, committee);
    proves.then_some(slot.0 as usize)
}

fn is_signed(digest: &Digest, signature: &[u8; 64], creator: u16, committee: &Committee) -> bool {
    let mut message = [0; DOMAIN_EVENT.len() + 32];
    message[..DOMAIN_EVENT.len()].copy_from_slice(DOMAIN_EVENT);
    message[DOMAIN_EVENT.len()..].copy_from_slice(digest);
    committee.verify(creator as usize, &message, signature)
}

/// The parents as far as their references tell (V2, V3).
fn check_parents(event: &Event, committee: &Committee, gc_depth: u64) -> Result<(), Reject> {
    if event.round == 1 {
        return if event.parent_count() > 0 { Err(Reject::NoQuorum) } else { Ok(()) };
    }
    let lowest = event.round.saturating_sub(gc_depth).max(1);
    let (mut strong, mut last) = (0, None);
    for parent in event.parents() {
        if Some(parent.creator) <= last || parent.creator as usize >= committee.n {
            return Err(Reject::ParentOrder);
        }
        last = Some(parent.creator);
        if !(lowest..event.round).contains(&parent.round) {
            return Err(Reject::ParentRound);
        }
        strong += usize::from(parent.round + 1 == event.round);
    }
    if strong < committee.q { Err(Reject::NoQuorum) } else { Ok(()) }
}

/// Whether `own` is the latest event of its creator in the history of the event (V4).
///
/// Only rounds that V3 lets be parents count: after a recovery (R3) the last own event may lie deeper.
fn is_latest(own: Option<NodeRef>, event: &Event, parents: &[NodeRef], dag: &Dag, gc_depth: u64) -> bool {
    if own.is_some_and(|own| own.round + 1 == event.round) {
        return true; // nothing later can be behind parents of at most that round
    }
    let lowest = own.map_or(event.round.saturating_sub(gc_depth).max(1), |own| own.round + 1);
    let has_one = |round: &u64| dag.row(*round).creators & bit(event.creator as usize) != 0;
    // Rows above the highest are empty, however far the event's round lies above them.
    let Some(lowest) = (lowest..event.round.min(dag.top + 1)).find(has_one) else {
        return true; // it has no such event anywhere: no need to walk
    };
    // What is in the history of the event, by round from `lowest` on: nothing below it matters.
    let mut reached = vec![RowSet::new(); (event.round - lowest) as usize];
    let in_reach = |at: &&NodeRef| at.round >= lowest && at.round < event.round;
    for at in parents.iter().filter(in_reach) {
        reached[(at.round - lowest) as usize].insert(at.bit());
    }
    while let Some(level) = reached.pop() {
        let row = dag.row(lowest + reached.len() as u64);
        for node in level.iter().map(|index| &row.nodes[index]) {
            if node.creator == event.creator {
                return false;
            }
            if let Some(below) = reached.last_mut() {
                below.union_with(&node.strong);
            }
            for at in node.weak.iter().filter(in_reach) {
                reached[(at.round - lowest) as usize].insert(at.bit());
            }
        }
    }
    true
}

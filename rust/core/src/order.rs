//! Where committed events stand in the one order, and at what time: a function of the committed events alone.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bits::{Creators, RowSet, creator};
use crate::committee::Committee;
use crate::config::Order;
use crate::crypto::blake3;
use crate::dag::{Dag, NodeRef};
use crate::journal::Place;
use crate::values::{Delivered, Digest, lower_median};

/// What the rolling hash of the order starts from (O9).
pub const DOMAIN_ORDER: &[u8] = b"syncpoint/order/v1";

/// Who has seen an event that waits to be delivered, and when (O3).
///
/// Here for all events of a round.
#[derive(Debug, Default)]
pub struct Sightings {
    /// Per creator: which events it has seen.
    seen: Vec<RowSet>,
    /// Per event of the row: ns, one per creator.
    times: Vec<Vec<u64>>,
}

/// What the orderer knows of one round.
#[derive(Debug, Default)]
struct Row {
    /// Held, delivered or not.
    held: RowSet,
    /// Held, not delivered; in fair order only.
    waiting: RowSet,
    /// Ready in this batch.
    ready: RowSet,
    /// Per event of the row: its stamp, once it is ready.
    stamps: Vec<u64>,
    /// Accepted, undelivered, not empty (P2).
    carrying: RowSet,
    /// Creators with a delivered variant (O7).
    taken: Creators,
    sightings: Sightings,
}

/// Turns closed rounds into batches of delivered events.
#[derive(Debug)]
pub struct Orderer {
    committee: Committee,
    /// Its number.
    epoch: u32,
    fair: bool,
    gc_depth: u64,
    /// What lies in rounds up to here and is not delivered never will be (O2).
    pub floor: u64,
    /// Of the next delivered event.
    pub index: u64,
    /// ns, of the last one.
    pub consensus_at: u64,
    /// After the last one (O9).
    pub order_hash: Digest,
    /// Up to which what closes was delivered before the start.
    place: Option<Place>,
    rows: VecDeque<Row>, // of the rounds from floor + 1
    carrying: usize,     // events
}

impl Orderer {
    /// An orderer that has delivered nothing.
    #[must_use]
    pub fn new(committee: Committee, order: Order, gc_depth: u64, epoch: u32) -> Self {
        let order_hash = first_order_hash(&committee.epoch_id);
        Self {
            committee,
            epoch,
            fair: order == Order::Fair,
            gc_depth,
            floor: 0,
            index: 0,
            consensus_at: 0,
            order_hash,
            place: None,
            rows: VecDeque::new(),
            carrying: 0,
        }
    }

    /// Whether what closes was delivered before the start.
    #[must_use]
    pub fn replays(&self) -> bool {
        self.place.is_some()
    }

    /// Whether an accepted event that carries something still waits for its place (P2).
    #[must_use]
    pub fn has_undelivered(&self) -> bool {
        self.carrying > 0
    }

    /// Begin above a round, with what comes up to a place delivered before (R1).
    ///
    /// What the closing of a round delivers depends on nothing that lies `gc_depth` rounds below it (O2), nor on what
    /// closed before that. Whoever closes 2 `gc_depth` rounds up to the place again stands there as it stood before.
    pub fn begin(&mut self, floor: u64, place: Place) {
        self.floor = floor;
        self.place = Some(place);
    }

    /// Begin behind the last place of the epoch before (S4).
    pub fn follow(&mut self, index: u64, consensus_at: u64, order_hash: Digest) {
        (self.index, self.consensus_at, self.order_hash) = (index, consensus_at, order_hash);
    }

    /// Note an accepted event; it counts as undelivered until it is delivered or falls below the floor.
    pub fn accept(&mut self, at: NodeRef, dag: &Dag) {
        if at.round > self.floor && dag.node(at).event.carries() {
            self.row(at.round).carrying.insert(at.bit());
            self.carrying += 1;
        }
    }

    /// The events that the closing of a round delivers, in order (O1); rounds come ascending, each once.
    pub fn close(&mut self, round: u64, committed: &[NodeRef], dag: &Dag) -> Vec<Delivered> {
        self.drop_below(round.saturating_sub(self.gc_depth));
        let new = self.hold(committed, dag);
        let mut ready = if self.fair {
            let ready = self.see(&new, dag);
            for &at in &ready {
                let times = &mut self.row(at.round).sightings.times[at.bit()];
                let stamp = lower_median(times); // O4
                self.mark_ready(at, stamp);
            }
            ready
        } else {
            let beat = beat(committed, dag); // O5
            for &at in &new {
                self.mark_ready(at, beat);
            }
            new
        };
        self.raise_to_parents(&mut ready, dag);
        let (mut salt, mut signatures) = ([0; 32], [0; 64]);
        for &at in committed {
            let event = &dag.node(at).event;
            xor(&mut salt, &event.digest);
            xor(&mut signatures, event.signature());
        }
        let mut keyed: Vec<(u64, u64, Digest, NodeRef)> = Vec::with_capacity(ready.len());
        for at in ready {
            let mut key = dag.node(at).digest;
            xor(&mut key, &salt);
            keyed.push((self.row(at.round).stamps[at.bit()], at.round, key, at));
        }
        keyed.sort_unstable(); // O7
        let mut batch = Vec::with_capacity(keyed.len());
        for (stamp, _, _, at) in keyed {
            let by = creator(dag.node(at).creator as usize);
            let row = self.row(at.round);
            row.ready.remove(at.bit());
            row.waiting.remove(at.bit());
            if let Some(times) = row.sightings.times.get_mut(at.bit()) {
                *times = Vec::new();
            }
            let carried = row.carrying.contains(at.bit());
            row.carrying.remove(at.bit());
            let taken = row.taken & by != 0;
            row.taken |= by;
            self.carrying -= usize::from(carried);
            if !taken {
                // O7: else another variant of its slot was delivered
                batch.push(self.deliver(at, stamp, round, &signatures, dag));
            }
        }
        let Some(place) = self.place else { return batch };
        if round == place.round {
            (self.index, self.consensus_at, self.order_hash) = (place.next_index, place.consensus_at, place.order_hash);
            self.place = None;
        }
        Vec::new()
    }

    /// Give what has this digest the next place in the order, at a time not before the stamp (ns); its index.
    pub fn place(&mut self, digest: &Digest, stamp: u64) -> u64 {
        let index = self.index;
        self.consensus_at = stamp.max(self.consensus_at + 1); // O8
        self.order_hash = next_order_hash(&self.order_hash, index, digest, self.consensus_at);
        self.index += 1;
        index
    }

    // -- holding and seeing -----------------------------------------------------------------------

    /// What lies at or below the floor can no longer be delivered (O2, O4).
    fn drop_below(&mut self, floor: u64) {
        while self.floor < floor {
            if let Some(row) = self.rows.pop_front() {
                self.carrying -= row.carrying.iter().count();
                self.floor += 1;
            } else {
                self.floor = floor;
            }
        }
    }

    /// The events that become held by these commits (O2).
    ///
    /// The walk stops at what is held already: all above the floor that lies behind it is held too.
    fn hold(&mut self, committed: &[NodeRef], dag: &Dag) -> Vec<NodeRef> {
        let mut new = Vec::new();
        for &at in committed {
            self.walk(
                at,
                dag,
                |row, reached, _| {
                    reached.subtract(&row.held);
                    row.held.union_with(reached);
                },
                |at| new.push(at),
            );
        }
        new.sort_unstable_by_key(|&at| {
            let node = dag.node(at);
            (at.round, node.creator, node.digest)
        });
        new
    }

    /// Record who sees what first through the new events (O3); what q creators have seen now (O4).
    ///
    /// The walk from each stops at what its creator has seen already, and at what is delivered: whoever
    /// has seen an event has seen all that lies behind it.
    fn see(&mut self, new: &[NodeRef], dag: &Dag) -> Vec<NodeRef> {
        let (n, q) = (self.committee.n, self.committee.q);
        let mut ready = Vec::new();
        for &at in new {
            let row = self.row(at.round);
            row.waiting.insert(at.bit());
            if row.sightings.seen.is_empty() {
                row.sightings.seen.resize_with(n, RowSet::new);
            }
            if row.sightings.times.len() <= at.bit() {
                row.sightings.times.resize_with(at.bit() + 1, Vec::new);
            }
            row.sightings.times[at.bit()].reserve_exact(n);
        }
        for &at in new {
            let node = dag.node(at);
            let (by, seen_at) = (node.creator as usize, node.created_at);
            self.walk(
                at,
                dag,
                |row, reached, round| {
                    reached.intersect_with(&row.waiting);
                    if reached.is_empty() {
                        return;
                    }
                    reached.subtract(&row.sightings.seen[by]);
                    row.sightings.seen[by].union_with(reached);
                    for index in reached.iter() {
                        let times = &mut row.sightings.times[index];
                        times.push(seen_at);
                        if times.len() == q {
                            ready.push(NodeRef { round, index: index as u32 });
                        }
                    }
                },
                |_| (),
            );
        }
        ready
    }

    /// Go from an event to its ancestors above the floor, round by round downwards.
    ///
    /// `enter` takes out of a set over a row what it does not want to go on from; `each` gets what is left.
    fn walk(
        &mut self,
        from: NodeRef,
        dag: &Dag,
        mut enter: impl FnMut(&mut Row, &mut RowSet, u64),
        mut each: impl FnMut(NodeRef),
    ) {
        if from.round <= self.floor {
            return;
        }
        let mut levels: VecDeque<RowSet> = VecDeque::with_capacity(4);
        let mut start = RowSet::new();
        start.insert(from.bit());
        levels.push_back(start);
        let mut round = from.round;
        while let Some(mut reached) = levels.pop_front() {
            if !reached.is_empty() {
                enter(self.row(round), &mut reached, round);
                let row = dag.row(round);
                for index in reached.iter() {
                    each(NodeRef { round, index: index as u32 });
                    let node = &row.nodes[index];
                    if round - 1 > self.floor {
                        reach(&mut levels, 0).union_with(&node.strong);
                    }
                    for parent in &node.weak {
                        if parent.round > self.floor {
                            reach(&mut levels, (round - 1 - parent.round) as usize).insert(parent.bit());
                        }
                    }
                }
            }
            round -= 1;
        }
    }

    // -- stamping and delivering ------------------------------------------------------------------

    fn mark_ready(&mut self, at: NodeRef, stamp: u64) {
        let row = self.row(at.round);
        row.ready.insert(at.bit());
        if row.stamps.len() <= at.bit() {
            row.stamps.resize(at.bit() + 1, 0);
        }
        row.stamps[at.bit()] = stamp;
    }

    /// No event is stamped before a parent of the same batch (O6).
    fn raise_to_parents(&mut self, ready: &mut [NodeRef], dag: &Dag) {
        ready.sort_unstable_by_key(|at| at.round);
        for &at in &*ready {
            let node = dag.node(at);
            let mut stamp = self.row(at.round).stamps[at.bit()];
            if at.round - 1 > self.floor {
                let below = self.row(at.round - 1);
                let mut parents = node.strong.clone();
                parents.intersect_with(&below.ready);
                for index in parents.iter() {
                    stamp = stamp.max(below.stamps[index]);
                }
            }
            for parent in &node.weak {
                if parent.round > self.floor {
                    let row = self.row(parent.round);
                    if row.ready.contains(parent.bit()) {
                        stamp = stamp.max(row.stamps[parent.bit()]);
                    }
                }
            }
            self.row(at.round).stamps[at.bit()] = stamp;
        }
    }

    fn deliver(&mut self, at: NodeRef, stamp: u64, round: u64, signatures: &[u8; 64], dag: &Dag) -> Delivered {
        let event = &dag.node(at).event;
        let index = self.place(&event.digest, stamp);
        let mut whitened_signature = *event.signature();
        xor(&mut whitened_signature, signatures); // O10
        Delivered {
            event: Arc::clone(event),
            index,
            consensus_at: self.consensus_at,
            order_hash: self.order_hash,
            whitened_signature,
            closed_by: round,
            submissions: Vec::new(),
            epoch: self.epoch,
        }
    }

    /// What is known of a round above the floor.
    fn row(&mut self, round: u64) -> &mut Row {
        let place = (round - self.floor - 1) as usize;
        if place >= self.rows.len() {
            self.rows.resize_with(place + 1, Row::default);
        }
        &mut self.rows[place]
    }
}

/// The order hash before anything is delivered (O9).
#[must_use]
pub fn first_order_hash(epoch_id: &Digest) -> Digest {
    blake3(&[DOMAIN_ORDER, epoch_id].concat())
}

/// The order hash behind the place of an event or a sync point, from the one before it (O9).
#[must_use]
pub fn next_order_hash(order_hash: &Digest, index: u64, digest: &Digest, consensus_at: u64) -> Digest {
    let mut place = [0; 80];
    place[..32].copy_from_slice(order_hash);
    place[32..40].copy_from_slice(&index.to_le_bytes());
    place[40..72].copy_from_slice(digest);
    place[72..].copy_from_slice(&consensus_at.to_le_bytes());
    blake3(&place)
}

/// The one time that all of a batch in fast order gets (O5).
fn beat(committed: &[NodeRef], dag: &Dag) -> u64 {
    if committed.is_empty() {
        return 0;
    }
    let mut times = Vec::with_capacity(committed.len());
    for &at in committed {
        let node = dag.node(at);
        let mut parents: Vec<u64> = if node.strong.is_empty() {
            vec![node.created_at]
        } else {
            let nodes = &dag.row(at.round - 1).nodes;
            node.strong.iter().map(|index| nodes[index].created_at).collect()
        };
        times.push(lower_median(&mut parents));
    }
    lower_median(&mut times)
}

fn reach(levels: &mut VecDeque<RowSet>, depth: usize) -> &mut RowSet {
    if depth >= levels.len() {
        levels.resize_with(depth + 1, RowSet::new);
    }
    &mut levels[depth]
}

fn xor<const N: usize>(into: &mut [u8; N], other: &[u8; N]) {
    for (one, two) in into.iter_mut().zip(other) {
        *one ^= two;
    }
}

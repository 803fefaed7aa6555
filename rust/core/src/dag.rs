//! The graph of accepted events: rows by round, votes read off as events come in.
//!
//! Sets of events of one round are bit sets: bit i is the event with index i in its row.
//! Indices follow arrival and so differ between peers; they never leave this peer and never order anything.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::bits::{Creators, RowSet, creator};
use crate::values::{Digest, Event, Parent};

/// Where an accepted event is: its round, and its index in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// From 1.
    pub round: u64,
    /// In order of arrival, from 0.
    pub index: u32,
}

impl NodeRef {
    /// Its index as a bit of a [`RowSet`].
    pub(crate) fn bit(self) -> usize {
        self.index as usize
    }
}

/// An accepted event and its place in the graph.
#[derive(Debug)]
pub struct Node {
    /// The event.
    pub event: Arc<Event>,
    /// Its id.
    pub digest: Digest,
    /// Its creator.
    pub creator: u16,
    /// ns, as its creator claims.
    pub created_at: u64,
    /// Over the row below: strong parents.
    pub(crate) strong: RowSet,
    /// The other parents.
    pub(crate) weak: Box<[NodeRef]>,
    /// Over the row above: events that vote for it (D1).
    pub(crate) voters: RowSet,
    /// Whose events vote for it (D1, Q3).
    pub(crate) voting: Creators,
}

/// The events of one round.
#[derive(Debug)]
pub struct Row {
    /// In order of arrival.
    pub(crate) nodes: Vec<Node>,
    /// Per creator the indices of its events, in digest order.
    pub(crate) variants: Vec<SmallVec<[u32; 2]>>,
    /// Who has an event here.
    pub(crate) creators: Creators,
    /// Who has more than one (equivocators).
    pub(crate) forked: Creators,
}

impl Row {
    fn new(n: usize) -> Self {
        Self { nodes: Vec::with_capacity(n), variants: vec![SmallVec::new(); n], creators: 0, forked: 0 }
    }

    /// The indices of a creator's events, in digest order.
    #[must_use]
    pub fn variants(&self, creator: usize) -> &[u32] {
        &self.variants[creator]
    }
}

/// All accepted events that are still retained; causally complete down to `floor`.
#[derive(Debug)]
pub struct Dag {
    /// Peers.
    pub n: usize,
    /// The highest round with an event.
    pub top: u64,
    /// Rounds up to here were dropped.
    pub floor: u64,
    /// Of all events held.
    pub bytes: u64,
    /// The highest round of each creator.
    pub frontier: Vec<u64>,
    rows: VecDeque<Row>, // of the rounds from floor + 1
    by_digest: HashMap<Digest, NodeRef, BuildHasherDefault<DigestHasher>>,
    empty: Row,
}

impl Dag {
    /// An empty graph of n creators.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self {
            n,
            top: 0,
            floor: 0,
            bytes: 0,
            frontier: vec![0; n],
            rows: VecDeque::new(),
            by_digest: HashMap::default(),
            empty: Row::new(n),
        }
    }

    /// Begin above a round, as if all up to it had been dropped; nothing may be here yet.
    pub fn begin(&mut self, floor: u64) {
        assert!(self.by_digest.is_empty(), "began twice");
        self.floor = floor;
        self.top = floor;
    }

    /// Whether an event is here.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.by_digest.contains_key(digest)
    }

    /// How many events are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// The node of an event, None when it is not here.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<NodeRef> {
        self.by_digest.get(digest).copied()
    }

    /// Where the event of a reference is, None when it is not here.
    ///
    /// The digest alone counts: a reference with the wrong creator or round finds its event all the same.
    #[must_use]
    pub fn find(&self, parent: &Parent) -> Option<NodeRef> {
        let row = self.row(parent.round);
        if let Some(variants) = row.variants.get(parent.creator as usize) {
            for &index in variants {
                if row.nodes[index as usize].digest == parent.digest {
                    return Some(NodeRef { round: parent.round, index });
                }
            }
        }
        self.get(&parent.digest)
    }

    /// The event at a place that is still retained.
    #[must_use]
    pub fn node(&self, at: NodeRef) -> &Node {
        &self.row(at.round).nodes[at.bit()]
    }

    /// The events of a round; an empty row where there are none.
    #[must_use]
    pub fn row(&self, round: u64) -> &Row {
        let place = round.checked_sub(self.floor + 1).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.rows.get(place)).unwrap_or(&self.empty)
    }

    /// Where all parents of an event are, in its order; None when one is not here.
    #[must_use]
    pub fn parents_of(&self, event: &Event) -> Option<Vec<NodeRef>> {
        event.parents().map(|parent| self.find(&parent)).collect()
    }

    /// Where the parents above the floor are, in the event's order; None when one is not here.
    #[must_use]
    pub(crate) fn parents_above_floor(&self, event: &Event) -> Option<Vec<NodeRef>> {
        event.parents().filter(|parent| parent.round > self.floor).map(|parent| self.find(&parent)).collect()
    }

    /// The highest round with events of so many creators; the floor where there is none.
    #[must_use]
    pub fn full_round(&self, creators: usize) -> u64 {
        let mut round = self.top;
        while round > self.floor && (self.row(round).creators.count_ones() as usize) < creators {
            round -= 1;
        }
        round
    }

    /// Add an event whose parents above the floor are all here; it must be neither here already nor below it.
    pub fn insert(&mut self, event: Arc<Event>, parents: &[NodeRef]) -> NodeRef {
        assert!(event.round > self.floor, "inserted below the floor");
        let round = event.round;
        while self.floor + (self.rows.len() as u64) < round {
            self.rows.push_back(Row::new(self.n));
        }
        let at = NodeRef { round, index: self.row(round).nodes.len() as u32 };
        assert!(self.by_digest.insert(event.digest, at).is_none(), "inserted twice");
        let (mut strong, mut weak) = (RowSet::new(), Vec::new());
        for &parent in parents {
            if parent.round + 1 == round {
                strong.insert(parent.bit());
                let node = &mut self.row_mut(parent.round).nodes[parent.bit()]; // D1: a strong parent is a vote
                node.voters.insert(at.bit());
                node.voting |= creator(event.creator as usize);
            } else {
                weak.push(parent);
            }
        }
        self.bytes += event.size() as u64;
        self.top = self.top.max(round);
        let by = event.creator as usize;
        self.frontier[by] = self.frontier[by].max(round);
        let row = self.row_mut(round);
        let digest = event.digest;
        row.nodes.push(Node {
            digest,
            creator: event.creator,
            created_at: event.created_at,
            event,
            strong,
            weak: weak.into_boxed_slice(),
            voters: RowSet::new(),
            voting: 0,
        });
        if row.variants[by].is_empty() {
            row.creators |= creator(by);
        } else {
            row.forked |= creator(by);
        }
        let nodes = &row.nodes;
        let place = row.variants[by].partition_point(|&other| nodes[other as usize].digest < digest);
        row.variants[by].insert(place, at.index);
        at
    }

    /// Bit set over a row: the events of `round` in the history of an event, itself included.
    pub(crate) fn history_at(&self, at: NodeRef, round: u64) -> RowSet {
        let mut reached = RowSet::new();
        if at.round <= round {
            if at.round == round {
                reached.insert(at.bit());
            }
            return reached;
        }
        // What is reached in each round from that of the event down to `round`.
        let mut levels = vec![RowSet::new(); (at.round - round) as usize + 1];
        levels[0].insert(at.bit());
        for depth in 0..levels.len() - 1 {
            let row = self.row(at.round - depth as u64);
            let here = std::mem::take(&mut levels[depth]);
            for index in here.iter() {
                let node = &row.nodes[index];
                levels[depth + 1].union_with(&node.strong);
                for parent in &node.weak {
                    if parent.round >= round {
                        levels[(at.round - parent.round) as usize].insert(parent.bit());
                    }
                }
            }
        }
        levels.pop().expect("at least one level")
    }

    /// Drop all rounds up to `floor`.
    pub fn prune(&mut self, floor: u64) {
        while self.floor < floor {
            if let Some(row) = self.rows.pop_front() {
                for node in &row.nodes {
                    self.by_digest.remove(&node.digest);
                    self.bytes -= node.event.size() as u64;
                }
                self.floor += 1;
            } else {
                self.floor = floor;
            }
        }
    }

    fn row_mut(&mut self, round: u64) -> &mut Row {
        let place = (round - self.floor - 1) as usize;
        &mut self.rows[place]
    }
}

/// Takes eight bytes of a digest as they are: they are a hash already, the same on every run (L1).
#[derive(Default)]
pub(crate) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

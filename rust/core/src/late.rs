//! Events that came so late that others may refuse them (docs/decisions/0015-far-behind.md).

use std::collections::{BTreeMap, BTreeSet};

use crate::bits::{Creators, creator};
use crate::committee::Committee;
use crate::dag::{Dag, NodeRef};

/// A late event, or one that builds on such: whoever refers to it brings them to others.
#[derive(Debug)]
struct Entry {
    /// The round of the deepest late event in its history that was not common ...
    deepest: u64,
    /// ... when so many were.
    checked: u64,
    is_late: bool,
    /// Who has an event that has it in its history.
    creators: Creators,
}

/// Late events that are not common yet, and what builds on them.
///
/// An event is common once f + 1 creators have it in the history of an event of theirs: one of them is honest, and all
/// can take from it what it has taken. It does not matter then how late it came; nor where we have built on it already.
#[derive(Debug)]
pub struct Late {
    /// What comes from such a round, or an older one, is late.
    pub line: u64,
    f: usize,
    own: usize,
    gc_depth: u64,
    entries: BTreeMap<NodeRef, Entry>,
    /// Entries that became common.
    common: u64,
}

impl Late {
    /// Nothing is late yet.
    #[must_use]
    pub fn new(committee: &Committee, own: usize, gc_depth: u64) -> Self {
        Self { line: 0, f: committee.f, own, gc_depth, entries: BTreeMap::new(), common: 0 }
    }

    /// Note an event that entered the DAG.
    pub fn accept(&mut self, at: NodeRef, dag: &Dag) {
        let is_late = at.round <= self.line;
        if self.f == 0 || (!is_late && self.entries.is_empty()) {
            return;
        }
        let by = dag.node(at).creator as usize;
        self.share(at, dag);
        if by == self.own {
            return;
        }
        let below = parents(at, dag).into_iter().filter_map(|parent| self.round_of(parent, dag)).min();
        if let Some(deepest) = below.or(is_late.then_some(at.round)) {
            let entry = Entry { deepest, checked: self.common, is_late, creators: creator(by) };
            self.entries.insert(at, entry);
        }
    }

    /// The round of the deepest late event in its history that is not common; None without one.
    pub fn round_of(&mut self, at: NodeRef, dag: &Dag) -> Option<u64> {
        let entry = self.entries.get(&at)?;
        if entry.checked == self.common {
            return Some(entry.deepest);
        }
        let found = self.deepest(at, dag);
        match (found, self.entries.get_mut(&at)) {
            (Some(deepest), Some(entry)) => (entry.deepest, entry.checked) = (deepest, self.common),
            _ => drop(self.entries.remove(&at)),
        }
        found
    }

    /// Of the creators of such events, among those of a round: the lowest `round_of` any of theirs.
    pub fn depths(&mut self, round: u64, dag: &Dag) -> BTreeMap<usize, u64> {
        let mut depths = BTreeMap::new();
        for (index, node) in dag.row(round).nodes.iter().enumerate() {
            let at = NodeRef { round, index: index as u32 };
            if let Some(depth) = self.round_of(at, dag) {
                let known = depths.entry(node.creator as usize).or_insert(depth);
                *known = depth.min(*known);
            }
        }
        depths
    }

    /// Forget events that left the DAG, those of the rounds up to `floor`; what builds on late ones stays late.
    pub fn prune(&mut self, floor: u64, dag: &Dag) {
        let kept = self.entries.split_off(&NodeRef { round: floor + 1, index: 0 });
        let gone = std::mem::replace(&mut self.entries, kept);
        if gone.is_empty() {
            return;
        }
        for (&at, entry) in self.entries.iter_mut().take_while(|(at, _)| at.round <= floor + self.gc_depth) {
            entry.is_late |= parents(at, dag).iter().any(|parent| gone.contains_key(parent));
        }
    }

    /// What is in the history of an event is in that of one more creator.
    fn share(&mut self, at: NodeRef, dag: &Dag) {
        let by = dag.node(at).creator as usize;
        let mut todo = parents(at, dag);
        while let Some(below) = todo.pop() {
            let Some(entry) = self.entries.get_mut(&below).filter(|entry| entry.creators & creator(by) == 0) else {
                continue;
            };
            entry.creators |= creator(by);
            if entry.creators.count_ones() as usize > self.f || by == self.own {
                self.entries.remove(&below);
                self.common += 1;
            }
            todo.extend(parents(below, dag));
        }
    }

    /// The lowest round of a late event in a history, as far as it is not common.
    fn deepest(&self, at: NodeRef, dag: &Dag) -> Option<u64> {
        let mut deepest: Option<u64> = None;
        let (mut todo, mut seen) = (vec![at], BTreeSet::from([at]));
        while let Some(below) = todo.pop() {
            if self.entries[&below].is_late {
                deepest = Some(deepest.map_or(below.round, |known| known.min(below.round)));
            }
            let found = parents(below, dag).into_iter().filter(|parent| self.entries.contains_key(parent));
            todo.extend(found.filter(|&parent| seen.insert(parent)));
        }
        deepest
    }
}

/// Where the parents of an event are.
fn parents(at: NodeRef, dag: &Dag) -> Vec<NodeRef> {
    let node = dag.node(at);
    let strong = node.strong.iter().map(|index| NodeRef { round: at.round - 1, index: index as u32 });
    strong.chain(node.weak.iter().copied()).collect()
}

//! Which events are committed: every slot (round, creator) is decided on its own, as early as it can be.
//!
//! All counts are kept up as events come in; a new event touches the slots of the two rounds below it.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::bits::{Creators, RowSet, creator};
use crate::committee::Committee;
use crate::config::Rule;
use crate::dag::{Dag, NodeRef};

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not decided yet.
    Undecided,
    /// Skipped.
    Skipped,
    /// This variant is committed.
    Committed(NodeRef),
}

/// What is known for and against one variant of a slot.
#[derive(Debug)]
pub struct Tally {
    /// In the row of the slot's round.
    index: u32,
    /// With an event of r+1 that does not vote for it.
    against: Creators,
    /// Over row r+2: certificates for it (D2).
    certificates: RowSet,
    /// Whose certificates.
    certifying: Creators,
    /// Over row r+2: evidence for it (D3).
    evidence: RowSet,
}

/// One (round, creator) and what is known of it.
#[derive(Debug)]
pub struct Slot {
    status: Status,
    /// In digest order.
    variants: SmallVec<[Tally; 1]>,
    /// Whose events of r+2 are evidence for no variant (D8).
    blind: Creators,
}

/// The slots of one round.
#[derive(Debug)]
struct Round {
    slots: Vec<Slot>,
    /// Number of slots that are not decided.
    open: usize,
}

/// The status of every slot under one rule.
#[derive(Debug)]
pub struct Decider {
    committee: Committee,
    two_step: bool,
    /// Votes that make a certificate (D2).
    need: usize,
    /// All slots of all rounds up to here are decided.
    pub closed: u64,
    /// Slots committed by the votes for them alone (D7).
    pub fast_commits: u64,
    /// Slots committed by certificates (D5, D7).
    pub certified_commits: u64,
    /// Slots committed by a later slot (D9).
    pub indirect_commits: u64,
    /// Slots skipped by their own votes.
    pub direct_skips: u64,
    /// Slots skipped by a later slot.
    pub indirect_skips: u64,
    /// Rounds up to here are forgotten.
    floor: u64,
    rounds: VecDeque<Round>,
}

impl Decider {
    /// A decider that has seen nothing.
    #[must_use]
    pub fn new(committee: Committee, rule: Rule) -> Self {
        let two_step = rule == Rule::TwoStep;
        Self {
            need: if two_step { committee.qc } else { committee.q },
            committee,
            two_step,
            closed: 0,
            fast_commits: 0,
            certified_commits: 0,
            indirect_commits: 0,
            direct_skips: 0,
            indirect_skips: 0,
            floor: 0,
            rounds: VecDeque::new(),
        }
    }

    /// Begin above a round that is closed; nothing may have been counted yet.
    pub fn begin(&mut self, round: u64) {
        self.closed = round;
        self.floor = round;
    }

    /// Go on with the counts of the epoch before; they are for people.
    pub fn follow(&mut self, before: &Self) {
        self.fast_commits = before.fast_commits;
        self.certified_commits = before.certified_commits;
        self.indirect_commits = before.indirect_commits;
        self.direct_skips = before.direct_skips;
        self.indirect_skips = before.indirect_skips;
    }

    /// Count a new event and decide what it makes decidable.
    pub fn insert(&mut self, at: NodeRef, dag: &Dag) {
        self.count(at, dag);
        let two_below = at.round >= 2 && self.decide_directly(at.round - 2, dag);
        let one_below = self.decide_directly(at.round - 1, dag);
        let changed = if one_below { at.round - 1 } else { at.round.saturating_sub(2) };
        if (one_below || two_below) && changed > 3 {
            self.decide_below(changed - 3, dag);
        }
    }

    /// Count a new event and decide nothing yet.
    pub fn count(&mut self, at: NodeRef, dag: &Dag) {
        self.enter(at, dag);
        self.count_votes(at, dag);
        self.count_certificates(at, dag);
    }

    /// Decide all that can be, from the top round down: for whoever counted a whole DAG before.
    ///
    /// With at most f liars this decides what event by event decides (D11); with more it is the model's answer.
    pub fn decide(&mut self, dag: &Dag) {
        let top = self.top();
        for round in (1..=top).rev() {
            self.decide_directly(round, dag);
        }
        self.decide_below(top, dag);
    }

    /// The rounds that closed since the last call, in order, each with its committed events.
    pub fn closing(&mut self, dag: &Dag) -> Vec<(u64, Vec<NodeRef>)> {
        let mut out = Vec::new();
        while self.closed < dag.top && self.round(self.closed + 1).is_some_and(|round| round.open == 0) {
            self.closed += 1;
            let slots = &self.round(self.closed).expect("it is there").slots;
            let committed = slots.iter().filter_map(|slot| match slot.status {
                Status::Committed(at) => Some(at),
                _ => None,
            });
            out.push((self.closed, committed.collect()));
        }
        out
    }

    /// Whether the votes of the next round settle the primary of `round` one way (P3).
    #[must_use]
    pub fn settled(&self, round: u64, dag: &Dag) -> bool {
        let Some(slots) = self.round(round) else {
            return round < 1 || round <= self.closed;
        };
        let slot = &slots.slots[self.committee.primary(round)];
        let qc = self.committee.qc;
        if slot.status != Status::Undecided {
            return true;
        }
        let nodes = &dag.row(round).nodes;
        if slot.variants.iter().any(|tally| count(nodes[tally.index as usize].voting) >= qc) {
            return true;
        }
        unwanted(slot, qc) && count(dag.row(round + 1).creators) >= qc
    }

    /// What became of a slot.
    #[must_use]
    pub fn status(&self, round: u64, creator: usize) -> Status {
        self.round(round).map_or(Status::Undecided, |slots| slots.slots[creator].status)
    }

    /// What is here, and what is known of the slots above the closed rounds: equal bytes, equal state.
    #[must_use]
    pub fn snapshot(&self, dag: &Dag) -> Vec<u8> {
        let mut data = Vec::new();
        for round in dag.floor + 1..=dag.top {
            let row = dag.row(round);
            for creator in 0..self.committee.n {
                for &index in row.variants(creator) {
                    data.extend(dag.node(NodeRef { round, index }).digest);
                }
                match self.status(round, creator) {
                    Status::Committed(at) => data.extend(dag.node(at).digest),
                    Status::Undecided => data.push(b'?'),
                    Status::Skipped => data.push(b'-'),
                }
            }
        }
        data
    }

    /// Forget the slots of all rounds up to `floor`, which must be closed.
    pub fn prune(&mut self, floor: u64) {
        assert!(floor <= self.closed, "pruned before it was decided");
        while self.floor < floor {
            self.rounds.pop_front();
            self.floor += 1;
        }
    }

    // -- counting ---------------------------------------------------------------------------------

    /// Make the event a variant of its slot.
    fn enter(&mut self, at: NodeRef, dag: &Dag) {
        while self.top() < at.round {
            let n = self.committee.n;
            let slot = || Slot { status: Status::Undecided, variants: SmallVec::new(), blind: 0 };
            self.rounds.push_back(Round { slots: (0..n).map(|_| slot()).collect(), open: n });
        }
        let Some(slots) = round_mut(&mut self.rounds, self.floor, at.round) else {
            return; // closed long ago: it can change nothing (D11)
        };
        let nodes = &dag.row(at.round).nodes;
        let node = &nodes[at.bit()];
        let variants = &mut slots.slots[node.creator as usize].variants;
        let place = variants.partition_point(|other| nodes[other.index as usize].digest < node.digest);
        // A variant that comes late finds events of the next round here already; none of them votes for it.
        let against = dag.row(at.round + 1).creators;
        variants.insert(
            place,
            Tally { index: at.index, against, certificates: RowSet::new(), certifying: 0, evidence: RowSet::new() },
        );
    }

    /// What an event says of the slots of the round below it (D1).
    fn count_votes(&mut self, at: NodeRef, dag: &Dag) {
        let node = dag.node(at);
        let by = creator(node.creator as usize);
        let Some(round) = round_mut(&mut self.rounds, self.floor, at.round - 1) else { return };
        if round.open == 0 {
            return;
        }
        for slot in &mut round.slots {
            if slot.status != Status::Undecided {
                continue;
            }
            for tally in &mut slot.variants {
                if !node.strong.contains(tally.index as usize) {
                    tally.against |= by;
                }
            }
        }
    }

    /// What an event says of the slots two rounds below it (D2, D3).
    fn count_certificates(&mut self, at: NodeRef, dag: &Dag) {
        if at.round < 3 {
            return;
        }
        let node = dag.node(at);
        let by = creator(node.creator as usize);
        let (need, t_plain, t_exposed) = (self.need, self.committee.t_plain, self.committee.t_exposed);
        let Some(round) = round_mut(&mut self.rounds, self.floor, at.round - 2) else { return };
        if round.open == 0 {
            return;
        }
        let nodes = &dag.row(at.round - 2).nodes;
        for slot in &mut round.slots {
            if slot.status != Status::Undecided {
                continue;
            }
            let votes: SmallVec<[usize; 2]> = slot
                .variants
                .iter()
                .map(|tally| node.strong.count_common(&nodes[tally.index as usize].voters))
                .collect();
            let seen = votes.iter().filter(|&&votes| votes > 0).count();
            let strong = votes.iter().filter(|&&votes| votes >= t_exposed).count();
            let mut blind = true;
            for (tally, &votes) in slot.variants.iter_mut().zip(&votes) {
                if votes >= need {
                    tally.certificates.insert(at.bit()); // D2
                    tally.certifying |= by;
                }
                if votes == 0 {
                    continue;
                }
                // D3: with one variant voted for, plain; with more, by many for one of them only.
                let is_evidence = if seen == 1 { votes >= t_plain } else { votes >= t_exposed && strong == 1 };
                if is_evidence {
                    tally.evidence.insert(at.bit());
                    blind = false;
                }
            }
            if blind {
                slot.blind |= by;
            }
        }
    }

    // -- deciding ---------------------------------------------------------------------------------

    /// Decide what the counts allow; whether a slot of the round was decided.
    fn decide_directly(&mut self, round: u64, dag: &Dag) -> bool {
        let Some(slots) = round_mut(&mut self.rounds, self.floor, round) else { return false };
        if slots.open == 0 {
            return false;
        }
        let mut decided = false;
        for slot in &mut slots.slots {
            if slot.status != Status::Undecided {
                continue;
            }
            let Some(verdict) = direct(&self.committee, self.two_step, round, slot, dag) else { continue };
            let (status, times) = match verdict {
                Direct::Fast(at) => (Status::Committed(at), &mut self.fast_commits),
                Direct::Certified(at) => (Status::Committed(at), &mut self.certified_commits),
                Direct::Skipped => (Status::Skipped, &mut self.direct_skips),
            };
            slot.status = status;
            *times += 1;
            slots.open -= 1;
            decided = true;
        }
        decided
    }

    /// Decide open rounds from `highest` down by the first later slot that is not skipped (D9).
    fn decide_below(&mut self, highest: u64, dag: &Dag) {
        for round in (self.floor + 1..=highest.min(self.top())).rev() {
            if self.round(round).is_none_or(|slots| slots.open == 0) {
                continue;
            }
            let Some(anchor) = self.anchor(round, dag) else { continue };
            let past = dag.history_at(anchor, round + 2);
            let slots = round_mut(&mut self.rounds, self.floor, round).expect("it is there");
            for slot in &mut slots.slots {
                if slot.status == Status::Undecided {
                    slot.status = indirect(&self.committee, self.two_step, slot, round, &past, dag);
                    slots.open -= 1;
                    if slot.status == Status::Skipped {
                        self.indirect_skips += 1;
                    } else {
                        self.indirect_commits += 1;
                    }
                }
            }
        }
    }

    /// The committed event that decides what is left open in `round`, None while there is none (D9).
    fn anchor(&self, round: u64, dag: &Dag) -> Option<NodeRef> {
        for later in round + 3..=dag.top {
            let slots = self.round(later).expect("rounds above an open one are kept");
            for creator in self.committee.slot_order(later) {
                match slots.slots[creator].status {
                    Status::Undecided => return None,
                    Status::Committed(at) => return Some(at),
                    Status::Skipped => {}
                }
            }
        }
        None
    }

    /// The highest round with slots.
    fn top(&self) -> u64 {
        self.floor + self.rounds.len() as u64
    }

    fn round(&self, round: u64) -> Option<&Round> {
        self.rounds.get(usize::try_from(round.checked_sub(self.floor + 1)?).ok()?)
    }
}

fn round_mut(rounds: &mut VecDeque<Round>, floor: u64, round: u64) -> Option<&mut Round> {
    rounds.get_mut(usize::try_from(round.checked_sub(floor + 1)?).ok()?)
}

fn count(creators: Creators) -> usize {
    creators.count_ones() as usize
}

/// How a slot is decided by its own counts.
enum Direct {
    /// By the votes for it.
    Fast(NodeRef),
    /// By certificates.
    Certified(NodeRef),
    /// It is skipped.
    Skipped,
}

/// What the counts of a slot alone allow (D5 to D8).
fn direct(committee: &Committee, two_step: bool, round: u64, slot: &Slot, dag: &Dag) -> Option<Direct> {
    let nodes = &dag.row(round).nodes;
    for tally in &slot.variants {
        let at = NodeRef { round, index: tally.index };
        if two_step && count(nodes[tally.index as usize].voting) >= committee.fast {
            return Some(Direct::Fast(at)); // D7
        }
        if count(tally.certifying) >= committee.q {
            return Some(Direct::Certified(at)); // D5, D7
        }
    }
    let skip = if two_step {
        count(slot.blind) >= committee.qc && unwanted(slot, committee.qc) // D8
    } else {
        count(dag.row(round + 1).creators) >= committee.q && unwanted(slot, committee.q) // D6
    };
    skip.then_some(Direct::Skipped)
}

/// What the part of row r+2 that the anchor knows says of a slot (D10).
fn indirect(committee: &Committee, two_step: bool, slot: &Slot, round: u64, past: &RowSet, dag: &Dag) -> Status {
    for tally in &slot.variants {
        if tally.certificates.intersects(past) {
            return Status::Committed(NodeRef { round, index: tally.index });
        }
    }
    if two_step {
        let nodes = &dag.row(round + 2).nodes;
        for tally in &slot.variants {
            let mut witnesses = tally.evidence.clone();
            witnesses.intersect_with(past);
            let creators = witnesses.iter().fold(0, |set, index| set | creator(nodes[index].creator as usize));
            if count(creators) >= committee.qc {
                return Status::Committed(NodeRef { round, index: tally.index });
            }
        }
    }
    Status::Skipped
}

/// Whether, for each known variant, `need` creators of the next round do not vote for it.
fn unwanted(slot: &Slot, need: usize) -> bool {
    slot.variants.iter().all(|tally| count(tally.against) >= need)
}

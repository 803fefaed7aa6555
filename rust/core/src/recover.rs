//! What a peer knows of its own past after a restart, and from where it goes on (R1 to R3, R5).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::bits::{Creators, creator};
use crate::committee::Committee;
use crate::config::Network;
use crate::dag::Dag;
use crate::error::Error;
use crate::journal::{EpochStart, Place, Position, Record, decode_record};
use crate::values::{Digest, Event};
use crate::wire;

/// What a halt says of a key that was used elsewhere (R5).
pub const COPIED: &str = "this key signs in another process, too";
/// What a start says of a journal with an event that cannot be in it.
pub const NOT_OURS: &str = "the journal holds an event that is not ours: another key or network";

/// An event of the store.
#[derive(Debug)]
pub struct Stored {
    /// Whoever made it.
    pub event: Arc<Event>,
    /// The number of its epoch.
    pub epoch: u32,
    /// Of one that we signed, as the journal says (O11); None of any other.
    pub taken_over: Option<Vec<Position>>,
}

/// What the records of a store say, each kind in the order of the records.
#[derive(Debug)]
pub struct Past {
    /// All that began, from the second on.
    pub epochs: Vec<EpochStart>,
    /// If anything was delivered.
    pub place: Option<Place>,
    /// Of proposals and votes.
    pub state: Option<Bytes>,
    /// Ours and others'.
    pub events: Vec<Stored>,
    /// Heights of own events.
    pub delivered: Vec<u64>,
}

/// Decode the records of a start; `CorruptError` for those that no store can hold.
///
/// `committee` is the first one, `network` has the first settings.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn read_store(records: &[Bytes], committee: &Committee, network: &Network) -> Result<Past, Error> {
    let (epochs, events, delivered) = (Vec::new(), Vec::new(), Vec::new());
    let mut past = Past { epochs, place: None, state: None, events, delivered };
    let mut known = HashMap::from([(committee.epoch_id, (0, committee.n))]); // id -> number, creators
    let mut own = (0, 0); // epoch and round of the last own event
    for record in records {
        let (frame, taken_over) = match decode_record(record) {
            None => {
                let start: String = record.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
                return Err(Error::Corrupt(format!("the journal holds a record that is none: {start}...")));
            }
            Some(Record::Epoch(start)) => {
                let (number, others) = (start.number, past.epochs.len());
                if number as usize != others + 1 {
                    let text = format!("the journal holds the beginning of epoch {number} behind {others} others");
                    return Err(Error::Corrupt(text));
                }
                let orders = start.roster.seats.iter().filter(|seat| seat.member.orders()).count();
                known.insert(start.epoch_id, (number, orders));
                past.epochs.push(start);
                continue;
            }
            Some(Record::Place(place)) => {
                past.place = Some(place);
                continue;
            }
            Some(Record::OwnDelivered(done)) => {
                past.delivered.push(done.of_height);
                continue;
            }
            Some(Record::State(state)) => {
                past.state = Some(state.state);
                continue;
            }
            Some(Record::SyncPoint(_)) => {
                return Err(Error::Corrupt("the journal holds a sync point among what a start takes".into()));
            }
            Some(Record::OwnEvent(event)) => (event.frame, Some(event.taken_over)),
            Some(Record::PeerEvent(event)) => (event.frame, None),
        };
        let stored = stored(&frame, taken_over, &known, network).ok_or_else(|| Error::Corrupt(NOT_OURS.into()))?;
        if stored.taken_over.is_some() {
            let round = stored.event.round;
            if own == (stored.epoch, round) {
                return Err(Error::Corrupt(format!("the journal holds two events of ours for round {round}")));
            }
            own = (stored.epoch, round);
        }
        past.events.push(stored);
    }
    Ok(past)
}

fn stored(
    frame: &Bytes,
    taken_over: Option<Vec<Position>>,
    known: &HashMap<Digest, (u32, usize)>,
    network: &Network,
) -> Option<Stored> {
    let epoch_id = wire::epoch_id_of(frame.get(1..)?)?;
    let &(epoch, n) = known.get(&epoch_id)?;
    let event = wire::decode_event(frame, &epoch_id, network).ok()?;
    (usize::from(event.creator) < n).then(|| Stored { event: Arc::new(event), epoch, taken_over })
}

/// Whether we may sign: our journal has all that we ever signed, or the others have told how far that went.
///
/// A whole journal needs q peers, ourselves among them, that know no more of us than it does. One that is lost, old or
/// damaged needs the answers of q others. Any event that we may have sent builds on those of q creators of the round
/// before, and among q others is an honest one of these: what it shows to have reaches up to that round. An answer is
/// the first frontier on a link, so nobody can have made it before we asked, and it counts when we have what it names.
///
/// A peer whose next event would come too late for the others to refer to it makes none, and goes on where they are
/// once it has what they have (docs/decisions/0015-far-behind.md).
#[derive(Debug)]
pub struct Recovery {
    /// Of our newest journaled event: nothing new before it is in the DAG.
    pub journaled_round: u64,
    /// What our next event builds on is not below it (R2, 0015).
    pub resume_round: u64,
    /// What comes from such a round others may refuse by the time our next event is there (0015).
    pub late_round: u64,
    /// Up to here the journal may lack events of ours: we made them before a recovery (R3).
    pub unknown_round: u64,
    /// The journal may lack events of ours, and we have not gone on yet.
    pub is_lost: bool,
    /// What we would make next comes too late for the others, and we have not gone on yet.
    pub is_behind: bool,
    n: usize,
    f: usize,
    q: usize,
    own: usize,
    gc_depth: u64,
    /// It has no journal (Q4).
    observes: bool,
    /// We have made an event since the start.
    signs: bool,
    /// The others have told how far we were (R2).
    settled: bool,
    /// Members that claim no event of ours that we do not have.
    heard: Creators,
    /// Member -> the highest round that it says it has.
    tops: BTreeMap<usize, u64>,
    /// Member -> the newest round of its own, and of ours, it has.
    answers: BTreeMap<usize, (u64, u64)>,
}

impl Recovery {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(committee: &Committee, own: usize, gc_depth: u64) -> Self {
        Self {
            journaled_round: 0,
            resume_round: 0,
            late_round: 0,
            unknown_round: 0,
            is_lost: false,
            is_behind: false,
            n: committee.n,
            f: committee.f,
            q: committee.q,
            own,
            gc_depth,
            observes: own >= committee.n,
            signs: false,
            settled: false,
            heard: 0,
            tops: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Whether we may sign, as far as our past is concerned (R1, R2); an observer has none.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.observes || (!self.is_lost && self.heard.count_ones() as usize + 1 >= self.q)
    }

    /// The highest round that f + 1 members say they have: one of them at least does not lie.
    #[must_use]
    pub fn peers_round(&self) -> u64 {
        let mut tops: Vec<u64> = self.tops.values().copied().collect();
        tops.sort_unstable_by_key(|&top| Reverse(top));
        tops.get(self.f).copied().unwrap_or(0)
    }

    /// Begin with a journal that is whole as far as the store can tell, or is not.
    pub fn start(&mut self, whole: bool) {
        self.is_lost = !whole && !self.observes;
    }

    /// Note an own event of the journal, or a new one that is durable.
    pub fn journaled(&mut self, event: &Event) {
        self.journaled_round = self.journaled_round.max(event.round);
        let own = event.parents().filter(|parent| parent.creator as usize == self.own);
        let builds_on = own.map(|parent| parent.round).max().unwrap_or(0);
        if builds_on < event.round - 1 {
            self.unknown_round = self.unknown_round.max(event.round - 1); // R3: it was made after a recovery
        }
    }

    /// Note how far a member is, and how far we are as it knows.
    pub fn frontier(&mut self, peer: usize, theirs: &[u64], dag: &Dag) {
        self.claims(peer, theirs.iter().copied().max().unwrap_or(0));
        self.answers.entry(peer).or_insert((theirs[peer], theirs[self.own]));
        if theirs[self.own] <= dag.frontier[self.own].max(self.journaled_round) {
            self.heard |= creator(peer); // else it knows more of us than we do, or lies; the pull will tell
        }
    }

    /// Note that a peer says it has an event of a round; what observers say counts for nothing (Q4).
    pub fn claims(&mut self, peer: usize, round: u64) {
        if peer < self.n {
            let top = self.tops.entry(peer).or_default();
            *top = round.max(*top);
        }
    }

    /// Whether a member has said what we need to hear from it, and we have what it named.
    #[must_use]
    pub fn is_heard(&self, peer: usize, dag: &Dag) -> bool {
        if !self.is_lost {
            return self.heard & creator(peer) != 0;
        }
        let has_named = |&(its, ours): &(u64, u64)| dag.frontier[peer] >= its && dag.frontier[self.own] >= ours;
        self.answers.get(&peer).is_some_and(has_named)
    }

    /// Note that an event was made: from now on an unknown one of ours comes from another process (R5).
    pub fn signed(&mut self) {
        self.signs = true;
    }

    /// Whether an event of ours that the journal lacks can only come from another process (R5).
    pub fn is_copied(&mut self, event: &Event) -> bool {
        if event.round <= self.unknown_round {
            return false;
        }
        if self.signs || self.settled {
            return true;
        }
        self.is_lost = true; // R2: the store was put back, or lost, without anybody noticing
        false
    }

    /// Compare the round that our next event builds on with those of the others; go on there once we can (0015).
    pub fn catch_up(&mut self, base_round: u64, reach: u64, dag: &Dag) {
        let top = self.peers_round().max(dag.top);
        self.late_round = top.saturating_add(self.gc_depth / 2).saturating_sub(reach);
        if !self.keeps_up(base_round, dag) {
            self.is_behind = true;
        }
        if self.is_behind && !self.is_lost {
            let full = dag.full_round(self.q);
            if self.keeps_up(full, dag) {
                self.is_behind = false;
                self.resume_round = self.resume_round.max(full);
            }
        }
    }

    /// Whether what we make next is near the highest round of the others, as far as they have told.
    #[must_use]
    pub fn keeps_up(&self, base_round: u64, dag: &Dag) -> bool {
        base_round + self.gc_depth / 2 >= self.peers_round().max(dag.top)
    }

    /// Take what we have for all that there is.
    pub fn believe(&mut self) {
        self.is_lost = false;
        self.heard = (0..self.n).fold(0, |all, peer| all | creator(peer));
    }

    /// Go on where nothing of ours can be once q others have answered (R2); why that can never be, if so.
    pub fn settle(&mut self, dag: &Dag) -> Option<String> {
        if !self.is_lost {
            return None;
        }
        if self.answers.keys().filter(|&&peer| self.is_heard(peer, dag)).count() < self.q.min(self.n - 1) {
            return None;
        }
        if self.n > 1 && self.f == 0 && dag.top > 0 {
            let text =
                "our journal is not whole, and this network tolerates no fault: nobody can go on without us (R2)";
            return Some(text.into());
        }
        self.believe();
        if self.n > 1 && dag.top > 0 {
            // else nobody has anything: the network begins
            (self.unknown_round, self.resume_round, self.settled) = (dag.top + 1, dag.top + 1, true);
        }
        None
    }
}

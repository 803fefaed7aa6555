//! What the network agrees about itself: proposals and votes, counted in the delivered order, become sync points (S).

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use bytes::Bytes;

use crate::bits::{Creators, creator};
use crate::change::{Change, decode_change};
use crate::committee::Committee;
use crate::crypto::{HASH_BYTES, blake3};
use crate::dag::DigestHasher;
use crate::error::Error;
use crate::items::{
    Proposal, Vote, decode_content, decode_proposal, decode_vote, encode_content, is_changing, proposal_id,
};
use crate::order::Orderer;
use crate::roster::Roster;
use crate::values::{Delivered, Digest, ItemType, SyncPoint, SyncPointKind};

/// What the digest of a sync point is hashed with.
pub const DOMAIN_SYNC_POINT: &[u8] = b"syncpoint/syncpoint/v1";
/// What the id of a session is hashed with.
pub const DOMAIN_SESSION: &[u8] = b"syncpoint/session/v1";
/// Proposals of one creator that are open, or were and are not past their deadline; more are refused.
pub const MAX_PROPOSALS: usize = 16;
/// After the proposal's place in the order; a later one is refused.
pub const MAX_DEADLINE_NS: u64 = 3_600_000_000_000;
/// Decided ones that count for nobody and are remembered; of more the oldest are forgotten.
pub const MAX_UNCLAIMED: usize = 2_048;

/// In the place of an id: nobody had to ask.
pub const NO_PROPOSAL: Digest = [0; 32];

const NOBODY: u16 = 0xFFFF;

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// q approved: there is a sync point (S2).
    Adopted = 1,
    /// More than f refused (S2).
    Refused = 2,
    /// Its deadline passed (S2).
    Expired = 3,
    /// Of a kind that cannot be proposed, or with a deadline that is over or too far away.
    Invalid = 4,
    /// Its proposer has `MAX_PROPOSALS` others.
    TooMany = 5,
    /// The session ended first.
    Ended = 6,
    /// What it changes is not so, or not any more: another change came first (S7).
    Conflict = 7,
    /// Its proposer is no member any more.
    Left = 8,
}

/// An open proposal and the votes on it, as far as they are delivered.
#[derive(Clone, Debug)]
pub struct Ballot {
    /// Of the proposal.
    pub id: Digest,
    /// Creator.
    pub proposer: u16,
    /// What is asked for.
    pub proposal: Proposal,
    /// Bit set over creators.
    pub approvals: Creators,
    /// The same.
    pub refusals: Creators,
    /// None of one that changes nothing, or is none.
    pub change: Option<Change>,
}

impl Ballot {
    /// The ballot on a proposal.
    #[must_use]
    pub fn new(id: Digest, proposer: u16, proposal: Proposal, approvals: Creators, refusals: Creators) -> Self {
        let change = decode_change(proposal.kind, &proposal.change);
        Self { id, proposer, proposal, approvals, refusals, change }
    }

    /// Whether a vote of this creator is counted; of several the first one is.
    #[must_use]
    pub fn voted(&self, by: usize) -> bool {
        (self.approvals | self.refusals) & creator(by) != 0
    }
}

/// A proposal that is decided, remembered until its deadline is over, so that nobody opens it again.
#[derive(Debug)]
struct Closed {
    proposer: u16,
    deadline: u64,
}

/// Counts proposals and votes where they are delivered; a function of the agreed order alone.
#[derive(Debug)]
pub struct Epoch {
    committee: Committee,
    /// Without one nothing can change.
    roster: Option<Roster>,
    /// Of the epoch.
    number: u32,
    /// Of the newest sync point.
    pub epoch_index: u64,
    /// Of the session that goes on.
    pub session_id: Digest,
    /// Nothing is delivered any more (S4).
    pub is_ended: bool,
    /// Ends the epoch: nothing is delivered behind it in this one (S4).
    pub fence: Option<SyncPoint>,
    /// The order hash before that.
    pub before_fence: Digest,
    /// That of the epoch behind the fence.
    pub next_roster: Option<Roster>,
    network_id: Digest,
    /// By id, in the order of delivery.
    open: InOrder<Ballot>,
    epoch_ns: u64,
    /// Consensus time of the first transaction since the last beat, 0 without (S5).
    beat_from: u64,
    /// Since they were taken last.
    news: Vec<(Ballot, Option<Outcome>)>,
    remembered: InOrder<Closed>,
    /// In the order in which they reached q.
    adopted: Vec<Digest>,
    changed: bool,
}

impl Epoch {
    /// Nothing was proposed yet in the epoch with a number; `network_id` is the id of the first one.
    #[must_use]
    pub fn new(
        committee: Committee,
        epoch_ns: u64,
        roster: Option<Roster>,
        number: u32,
        network_id: Option<Digest>,
    ) -> Self {
        Self {
            epoch_index: 0,
            session_id: committee.epoch_id,
            network_id: network_id.unwrap_or(committee.epoch_id),
            committee,
            number,
            is_ended: false,
            fence: None,
            before_fence: [0; 32],
            next_roster: roster.clone(),
            roster,
            open: InOrder::default(),
            epoch_ns,
            beat_from: 0,
            news: Vec::new(),
            remembered: InOrder::default(),
            adopted: Vec::new(),
            changed: false,
        }
    }

    /// Proposals that are open.
    #[must_use]
    pub fn proposals(&self) -> usize {
        self.open.len()
    }

    /// Whether nothing is delivered any more in this epoch (S4).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_ended || self.fence.is_some()
    }

    /// Count what a delivered event says (S1).
    pub fn count(&mut self, done: &Delivered) {
        let (event, now) = (&done.event, done.consensus_at);
        if self.epoch_ns > 0 && self.beat_from == 0 && event.transaction_count > 0 {
            (self.beat_from, self.changed) = (now, true);
        }
        if !self.open.is_empty() {
            self.expire(now);
        }
        if event.item_count == 0 {
            return;
        }
        for item in event.items() {
            if item.r#type == ItemType::Propose as u16 {
                self.propose(event.creator, &item.body, now);
            } else if item.r#type == ItemType::Vote as u16
                && let Some(vote) = decode_vote(&item.body)
            {
                self.vote(event.creator, vote);
            }
        }
    }

    /// The sync points at the end of the batch that the closing of a round delivered (S2).
    pub fn close(&mut self, round: u64, orderer: &mut Orderer) -> Vec<SyncPoint> {
        let mut points = Vec::new();
        for id in std::mem::take(&mut self.adopted) {
            if self.is_ended {
                self.finish(&id, Outcome::Ended);
                continue;
            }
            if self.fence.is_some() {
                self.adopted.push(id); // in the next epoch, if it applies there
                continue;
            }
            let ballot = self.finish(&id, Outcome::Adopted);
            points.push(self.emit(round, orderer, Some(&ballot)));
        }
        let due = self.beat_from > 0 && orderer.consensus_at >= self.beat_from.saturating_add(self.epoch_ns);
        if due && !self.is_closed() {
            points.push(self.emit(round, orderer, None)); // S5
        }
        if self.is_ended {
            while let Some(id) = self.open.first() {
                self.finish(&id, Outcome::Ended);
            }
        }
        points
    }

    /// What goes on behind the fence, in an epoch with the next roster and its committee (S4).
    ///
    /// Open proposals go over with their votes, by members; those of a member that left end, and those whose change does
    /// not apply any more.
    #[must_use]
    pub fn next_epoch(&self, committee: Committee, epoch_ns: u64) -> Self {
        let fence = self.fence.as_ref().expect("nothing ends this epoch");
        let roster = self.next_roster.clone();
        let mut after = Self::new(committee, epoch_ns, roster, self.number + 1, Some(self.network_id));
        (after.epoch_index, after.session_id, after.beat_from) = (self.epoch_index, self.session_id, self.beat_from);
        let places = self.places(&after);
        for (id, closed) in self.remembered.iter() {
            // Not even those of who left are forgotten: whoever gets its number could open them again.
            let proposer = places.get(&closed.proposer).copied().unwrap_or(NOBODY);
            after.remembered.insert(*id, Closed { proposer, deadline: closed.deadline });
        }
        for (_, ballot) in self.open.iter() {
            let Some(&proposer) = places.get(&ballot.proposer) else {
                after.leave_behind(ballot, Outcome::Left);
                continue;
            };
            if ballot.change.as_ref().is_some_and(|change| !after.applies(change)) {
                after.leave_behind(ballot, Outcome::Conflict); // S7
                continue;
            }
            let (approvals, refusals) = (moved(ballot.approvals, &places), moved(ballot.refusals, &places));
            after.open.insert(ballot.id, Ballot { proposer, approvals, refusals, ..ballot.clone() });
        }
        after.forget(fence.consensus_at);
        after.recount();
        after.changed = true;
        after
    }

    /// Proposals that were opened (None), or decided and how, since they were taken last.
    pub fn take_news(&mut self) -> Vec<(Ballot, Option<Outcome>)> {
        let mut news = std::mem::take(&mut self.news);
        for (ballot, how) in &mut news {
            if let (None, Some(open)) = (how, self.open.get(&ballot.id)) {
                ballot.clone_from(open); // with the votes of now
            }
        }
        news
    }

    /// The state if it changed since it was taken last: what a restart needs beside the order (R1).
    pub fn take_changes(&mut self) -> Option<Bytes> {
        std::mem::take(&mut self.changed).then(|| self.encode().into())
    }

    /// The state as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.epoch_index.to_le_bytes().to_vec();
        out.extend(self.session_id);
        out.push(u8::from(self.is_ended));
        out.extend(self.beat_from.to_le_bytes());
        for entries in [self.open.len(), self.remembered.len()] {
            out.extend(u16::try_from(entries).expect("each creator has few").to_le_bytes());
        }
        for (id, ballot) in self.open.iter() {
            let proposal = &ballot.proposal;
            out.extend(id);
            out.extend(ballot.proposer.to_le_bytes());
            out.extend(ballot.approvals.to_le_bytes());
            out.extend(ballot.refusals.to_le_bytes());
            out.push(proposal.kind);
            out.extend(proposal.deadline.to_le_bytes());
            out.extend(proposal.salt.to_le_bytes());
            let content = encode_content(proposal.kind, &proposal.change, &proposal.metadata);
            out.extend((content.len() as u32).to_le_bytes());
            out.extend(content);
        }
        for (id, closed) in self.remembered.iter() {
            out.extend(id);
            out.extend(closed.proposer.to_le_bytes());
            out.extend(closed.deadline.to_le_bytes());
        }
        out
    }

    /// Take up the state of before a restart; `CorruptError` for what is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn restore(&mut self, state: &Bytes) -> Result<(), Error> {
        let left = self.decode(state)?;
        if left > 0 {
            return Err(Error::Corrupt("the state of proposals and votes is longer than it says".into()));
        }
        self.news = self.open.iter().map(|(_, ballot)| (ballot.clone(), None)).collect();
        self.recount();
        Ok(())
    }

    // -- private ----------------------------------------------------------------------------------

    fn propose(&mut self, by: u16, body: &Bytes, now: u64) {
        let Some(proposal) = decode_proposal(body) else { return };
        let id = proposal_id(&self.network_id, self.number_of(by), body);
        if self.open.get(&id).is_some() || self.remembered.get(&id).is_some() {
            return;
        }
        let late = proposal.deadline > now + MAX_DEADLINE_NS;
        // What is open must not keep the frame in memory that brought it.
        let [metadata, change] = [&proposal.metadata, &proposal.change].map(|part| Bytes::copy_from_slice(part));
        let ballot = Ballot::new(id, by, Proposal { metadata, change, ..proposal }, 0, 0);
        if ballot.proposal.deadline <= now {
            self.news.push((ballot, Some(Outcome::Expired)));
        } else if !self.is_valid(&ballot) || late {
            self.news.push((ballot, Some(Outcome::Invalid)));
        } else if self.count_of(by, now) >= MAX_PROPOSALS {
            self.news.push((ballot, Some(Outcome::TooMany)));
        } else if ballot.change.as_ref().is_some_and(|change| !self.applies(change)) {
            // Remembered, or the same item once more could open what its proposer was told is rejected.
            self.remembered.insert(id, Closed { proposer: by, deadline: ballot.proposal.deadline });
            self.changed = true;
            self.news.push((ballot, Some(Outcome::Conflict)));
        } else {
            self.changed = true;
            self.news.push((ballot.clone(), None));
            self.open.insert(id, ballot);
            self.vote(by, Vote { proposal: id, approves: true }); // who asks, agrees
        }
    }

    /// Whether there can be a sync point like this, asked for by this peer.
    fn is_valid(&self, ballot: &Ballot) -> bool {
        let kind = ballot.proposal.kind;
        if !is_changing(kind) {
            return (SyncPointKind::Session as u8..=SyncPointKind::End as u8).contains(&kind);
        }
        if self.roster.is_none() {
            return false;
        }
        match &ballot.change {
            // Nobody gives another one a key.
            Some(Change::Rotate(rotate)) => rotate.old == self.committee.members[ballot.proposer as usize].public,
            change => change.is_some(),
        }
    }

    /// Whether a change is one, of the members and settings that hold (S7).
    fn applies(&self, change: &Change) -> bool {
        self.roster.as_ref().is_some_and(|roster| roster.change(change).is_some())
    }

    /// The number at the seam of a creator.
    fn number_of(&self, by: u16) -> u16 {
        let of = |roster: &Roster| roster.seat_of(&self.committee.members[by as usize].public).map(|seat| seat.number);
        self.roster.as_ref().and_then(of).map_or(by, |number| number as u16)
    }

    /// The creators of this epoch that are some in the next one, and which ones.
    fn places(&self, after: &Self) -> BTreeMap<u16, u16> {
        let creators = |epoch: &Self| 0..epoch.committee.n as u16;
        let numbers: BTreeMap<u16, u16> = creators(after).map(|creator| (after.number_of(creator), creator)).collect();
        creators(self)
            .filter_map(|creator| numbers.get(&self.number_of(creator)).map(|&place| (creator, place)))
            .collect()
    }

    /// Decide what is decided by the thresholds of this epoch already, in the order of delivery.
    ///
    /// A restart knows no other order: so what was adopted behind a fence goes by it as well.
    fn recount(&mut self) {
        let (q, f) = (self.committee.q, self.committee.f);
        let has_quorum = |ballot: &Ballot| ballot.approvals.count_ones() as usize >= q;
        let refused = self.open.iter().filter(|(_, ballot)| ballot.refusals.count_ones() as usize > f);
        let refused: Vec<Digest> = refused.filter(|(_, ballot)| !has_quorum(ballot)).map(|(id, _)| *id).collect();
        for id in refused {
            self.finish(&id, Outcome::Refused);
        }
        self.adopted = self.open.iter().filter(|(_, ballot)| has_quorum(ballot)).map(|(id, _)| *id).collect();
    }

    fn vote(&mut self, by: u16, vote: Vote) {
        let Some(ballot) = self.open.get_mut(&vote.proposal) else { return };
        if ballot.voted(by as usize) {
            return;
        }
        self.changed = true;
        if vote.approves {
            ballot.approvals |= creator(by as usize);
            if ballot.approvals.count_ones() as usize == self.committee.q {
                self.adopted.push(vote.proposal);
            }
        } else {
            ballot.refusals |= creator(by as usize);
            if ballot.refusals.count_ones() as usize == self.committee.f + 1 {
                self.finish(&vote.proposal, Outcome::Refused);
            }
        }
    }

    /// Give up what is past its deadline in consensus time, unless q have approved it (S2).
    fn expire(&mut self, now: u64) {
        let late = self.open.iter().filter(|(id, ballot)| now > ballot.proposal.deadline && !self.adopted.contains(id));
        let late: Vec<Digest> = late.map(|(id, _)| *id).collect();
        for id in late {
            self.finish(&id, Outcome::Expired);
        }
    }

    /// Close an open proposal.
    fn finish(&mut self, id: &Digest, outcome: Outcome) -> Ballot {
        let ballot = self.open.remove(id).expect("it is open");
        self.remembered.insert(*id, Closed { proposer: ballot.proposer, deadline: ballot.proposal.deadline });
        if let Some((opened, _)) = self.news.iter_mut().find(|(told, how)| told.id == *id && how.is_none()) {
            opened.clone_from(&ballot); // with its last votes
        }
        self.news.push((ballot.clone(), Some(outcome)));
        self.changed = true;
        ballot
    }

    /// Close at a fence what does not get into this epoch.
    ///
    /// It counts for nobody from here on, so that whoever was not the first to ask may ask for something else.
    fn leave_behind(&mut self, ballot: &Ballot, outcome: Outcome) {
        self.remembered.insert(ballot.id, Closed { proposer: NOBODY, deadline: ballot.proposal.deadline });
        self.news.push((ballot.clone(), Some(outcome)));
    }

    /// Forget what is past its deadline, and the oldest of too many that count for nobody.
    fn forget(&mut self, now: u64) {
        let before = self.remembered.len();
        self.remembered.retain(|closed| now <= closed.deadline);
        let unclaimed = self.remembered.iter().filter(|(_, closed)| closed.proposer == NOBODY).map(|(id, _)| *id);
        let unclaimed: Vec<Digest> = unclaimed.collect();
        for id in &unclaimed[..unclaimed.len().saturating_sub(MAX_UNCLAIMED)] {
            self.remembered.remove(id);
        }
        self.changed |= self.remembered.len() < before; // else a restart would remember what others have forgotten
    }

    /// How many proposals of a creator are open or remembered; what is past its deadline is forgotten.
    fn count_of(&mut self, by: u16, now: u64) -> usize {
        self.forget(now);
        self.open.iter().filter(|(_, ballot)| ballot.proposer == by).count()
            + self.remembered.iter().filter(|(_, closed)| closed.proposer == by).count()
    }

    /// The sync point of a proposal, or the regular beat, at the next place in the order.
    fn emit(&mut self, round: u64, orderer: &mut Orderer, ballot: Option<&Ballot>) -> SyncPoint {
        self.changed = true;
        self.epoch_index += 1;
        let kind = ballot.map_or(SyncPointKind::Epoch as u8, |ballot| ballot.proposal.kind);
        let (id, proposer) = ballot.map_or((NO_PROPOSAL, None), |ballot| (ballot.id, Some(ballot.proposer)));
        let (metadata, approvals) =
            ballot.map_or((Bytes::new(), 0), |ballot| (ballot.proposal.metadata.clone(), ballot.approvals));
        let change = ballot.map_or(Bytes::new(), |ballot| ballot.proposal.change.clone());
        let digest = sync_point_digest(kind, self.epoch_index, &id, proposer, approvals, &metadata, &change);
        let before = orderer.order_hash;
        let index = orderer.place(&digest, 0);
        if kind == SyncPointKind::Session as u8 {
            self.session_id = blake3(&[DOMAIN_SESSION, &orderer.order_hash].concat());
        } else if kind == SyncPointKind::Epoch as u8 {
            self.beat_from = 0;
        } else if kind == SyncPointKind::End as u8 {
            self.is_ended = true;
        }
        let point = SyncPoint {
            kind,
            metadata,
            proposal: id,
            proposer,
            approvals,
            epoch_index: self.epoch_index,
            session_id: self.session_id,
            digest,
            index,
            consensus_at: orderer.consensus_at,
            order_hash: orderer.order_hash,
            closed_by: round,
            change,
            epoch: self.number,
        };
        if let Some(change) = ballot.and_then(|ballot| ballot.change.as_ref()) {
            let roster = self.roster.as_ref().expect("nothing can change without a roster");
            self.next_roster = roster.change(change);
            assert!(self.next_roster.is_some(), "what is open applies"); // S7
            (self.fence, self.before_fence) = (Some(point.clone()), before);
        }
        point
    }

    /// How many bytes are left behind the state.
    fn decode(&mut self, state: &Bytes) -> Result<usize, Error> {
        let mut rest = &state[..];
        self.epoch_index = u64::from_le_bytes(next(&mut rest)?);
        self.session_id = next(&mut rest)?;
        self.is_ended = next::<1>(&mut rest)? != [0];
        self.beat_from = u64::from_le_bytes(next(&mut rest)?);
        let opened = u16::from_le_bytes(next(&mut rest)?);
        let closed = u16::from_le_bytes(next(&mut rest)?);
        for _ in 0..opened {
            let id: Digest = next(&mut rest)?;
            let proposer = u16::from_le_bytes(next(&mut rest)?);
            let approvals = Creators::from_le_bytes(next(&mut rest)?);
            let refusals = Creators::from_le_bytes(next(&mut rest)?);
            let [kind] = next(&mut rest)?;
            let deadline = u64::from_le_bytes(next(&mut rest)?);
            let salt = u64::from_le_bytes(next(&mut rest)?);
            let size = u32::from_le_bytes(next(&mut rest)?) as usize;
            let (content, after) = rest.split_at_checked(size).ok_or_else(cut)?;
            rest = after;
            let Some((change, metadata)) = decode_content(kind, content) else {
                let text = "the state of proposals and votes holds a proposal that is none";
                return Err(Error::Corrupt(text.into()));
            };
            let (metadata, change) = (state.slice_ref(metadata), state.slice_ref(change));
            let proposal = Proposal { kind, deadline, salt, metadata, change };
            self.open.insert(id, Ballot::new(id, proposer, proposal, approvals, refusals));
        }
        for _ in 0..closed {
            let id: Digest = next(&mut rest)?;
            let proposer = u16::from_le_bytes(next(&mut rest)?);
            let deadline = u64::from_le_bytes(next(&mut rest)?);
            self.remembered.insert(id, Closed { proposer, deadline });
        }
        Ok(rest.len())
    }
}

/// What stands for a sync point in the order hash, 32 bytes (O9).
#[must_use]
pub fn sync_point_digest(
    kind: u8,
    epoch_index: u64,
    proposal: &Digest,
    proposer: Option<u16>,
    approvals: Creators,
    metadata: &[u8],
    change: &[u8],
) -> Digest {
    let mut data = DOMAIN_SYNC_POINT.to_vec();
    data.push(kind);
    data.extend(epoch_index.to_le_bytes());
    data.extend(proposal);
    data.extend(proposer.unwrap_or(NOBODY).to_le_bytes());
    data.extend(approvals.to_le_bytes());
    data.extend(encode_content(kind, change, metadata));
    blake3(&data)
}

/// The same members as creators of the next epoch.
fn moved(creators: Creators, places: &BTreeMap<u16, u16>) -> Creators {
    let moved = places.iter().filter(|&(&by, _)| creators & creator(by as usize) != 0);
    moved.fold(0, |set, (_, &place)| set | creator(place as usize))
}

/// The next bytes of a state.
fn next<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (bytes, after) = rest.split_first_chunk().ok_or_else(cut)?;
    *rest = after;
    Ok(*bytes)
}

fn cut() -> Error {
    Error::Corrupt("the state of proposals and votes is cut off".into())
}

/// Values by id that are gone through in the order in which they came in.
#[derive(Debug)]
pub(crate) struct InOrder<V> {
    numbers: HashMap<Digest, u64, BuildHasherDefault<DigestHasher>>,
    values: BTreeMap<u64, (Digest, V)>,
    next_number: u64,
}

impl<V> Default for InOrder<V> {
    fn default() -> Self {
        Self { numbers: HashMap::default(), values: BTreeMap::new(), next_number: 0 }
    }
}

impl<V> InOrder<V> {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn first(&self) -> Option<Digest> {
        self.values.first_key_value().map(|(_, (id, _))| *id)
    }

    fn iter(&self) -> impl Iterator<Item = (&Digest, &V)> {
        self.values.values().map(|(id, value)| (id, value))
    }

    pub(crate) fn get(&self, id: &Digest) -> Option<&V> {
        self.values.get(self.numbers.get(id)?).map(|(_, value)| value)
    }

    fn get_mut(&mut self, id: &Digest) -> Option<&mut V> {
        self.values.get_mut(self.numbers.get(id)?).map(|(_, value)| value)
    }

    /// Put a value at the end, or in the place of the one with the same id.
    pub(crate) fn insert(&mut self, id: Digest, value: V) {
        let number = *self.numbers.entry(id).or_insert(self.next_number);
        self.next_number += 1;
        self.values.insert(number, (id, value));
    }

    pub(crate) fn remove(&mut self, id: &Digest) -> Option<V> {
        let number = self.numbers.remove(id)?;
        self.values.remove(&number).map(|(_, value)| value)
    }

    fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        let numbers = &mut self.numbers;
        self.values.retain(|_, (id, value)| {
            let kept = keep(value);
            if !kept {
                numbers.remove(id);
            }
            kept
        });
    }
}

const _: () = assert!(NO_PROPOSAL.len() == HASH_BYTES);

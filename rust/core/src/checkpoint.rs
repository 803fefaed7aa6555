//! What peers say of the order at checkpoints: votes, certificates, and contradictions (C1, C2, C4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::bits::{Creators, creator};
use crate::committee::Committee;
use crate::crypto::{HASH_BYTES, Signer};
use crate::items::{CheckpointVote, checkpoint_message, decode_checkpoint_vote, encode_checkpoint_vote};
use crate::order::Orderer;
use crate::values::{Digest, Event, Item, ItemType, SyncPoint};

/// Every so many closed rounds there is a checkpoint, if anything was delivered.
pub const CHECKPOINT_ROUNDS: u64 = 8;
/// Checkpoints of ours that are kept, and votes of one creator; the oldest are forgotten.
pub const MAX_CHECKPOINTS: usize = 128;
/// Certificates that are waited for; beyond, the oldest wait gets none.
pub const MAX_CERTIFY: usize = 1_024;

/// In the place of a state hash.
pub const NOT_ATTESTED: Digest = [0; 32];

/// Votes of q creators for one checkpoint, or none where it is too old to be known any more (C2).
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The index that was asked for.
    pub wanted: u64,
    /// Of the checkpoint: the first one at it or after it that has the votes.
    pub index: u64,
    /// After that.
    pub order_hash: Digest,
    /// Of the application.
    pub state_hash: Digest,
    /// Bit set over creators.
    pub signers: Creators,
    /// 64 bytes each, in creator order.
    pub signatures: Vec<u8>,
    /// The number of the epoch whose creators these are.
    pub epoch: u32,
}

/// So many others contradict us at a checkpoint that some honest one does (C4).
#[derive(Clone, Debug)]
pub struct Divergence {
    /// Of the checkpoint.
    pub index: u64,
    /// Order hash, or state hash.
    pub ours: Digest,
    /// The same.
    pub theirs: Digest,
    /// It is the application that differs, not the order.
    pub is_state: bool,
}

/// The votes for one checkpoint, by creator.
type Votes = BTreeMap<usize, CheckpointVote>;

/// Our checkpoints, and what all peers say of theirs; a local matter, as votes count where they are in the DAG.
#[derive(Debug)]
pub struct Checkpoints {
    committee: Committee,
    /// Of the epoch.
    number: u32,
    own: usize,
    signer: Arc<Signer>,
    /// Index -> order hash.
    ours: BTreeMap<u64, Digest>,
    /// Index -> our state hash.
    attested: BTreeMap<u64, Digest>,
    /// (Index, whether a state is attested) -> votes.
    votes: BTreeMap<(u64, bool), Votes>,
    /// Per creator: which votes of it are kept, oldest first.
    kept: Vec<VecDeque<(u64, bool)>>,
    /// Indices.
    wanted: Vec<u64>,
    /// That were waited for, since they were taken last.
    certificates: Vec<Certificate>,
    /// The first one, until it is taken.
    divergence: Option<Divergence>,
    diverged: bool,
    /// Checkpoints below are not known any more.
    known_from: u64,
}

impl Checkpoints {
    /// Nothing was delivered yet in the epoch with a number.
    #[must_use]
    pub fn new(committee: Committee, own: usize, signer: Arc<Signer>, number: u32) -> Self {
        Self {
            number,
            own,
            signer,
            ours: BTreeMap::new(),
            attested: BTreeMap::new(),
            votes: BTreeMap::new(),
            kept: vec![VecDeque::new(); committee.n],
            wanted: Vec::new(),
            certificates: Vec::new(),
            divergence: None,
            diverged: false,
            known_from: 0,
            committee,
        }
    }

    /// Begin behind what was delivered before a restart: its checkpoints are not known any more.
    pub fn begin(&mut self, next_index: u64) {
        self.known_from = next_index;
    }

    /// Begin behind what ended the epoch before: what applications attest there is said in this one.
    pub fn follow(&mut self, next_index: u64, order_hash: Digest) {
        self.known_from = next_index.saturating_sub(1);
        self.ours.insert(self.known_from, order_hash);
    }

    /// Note our checkpoints at the closing of a round; our votes for them, none of an observer (C1, Q4).
    pub fn close(&mut self, round: u64, points: &[SyncPoint], orderer: &Orderer) -> Vec<Item> {
        let mut votes = Vec::new();
        for point in points {
            votes.extend(self.reached(point.index, point.order_hash));
        }
        if round.is_multiple_of(CHECKPOINT_ROUNDS) {
            let next = self.ours.last_key_value().map_or(self.known_from, |(newest, _)| newest + 1);
            if orderer.index > next {
                votes.extend(self.reached(orderer.index - 1, orderer.order_hash));
            }
        }
        votes
    }

    /// Add the hash of our application's state at a checkpoint; our vote, none where that is not known any more.
    pub fn attest(&mut self, index: u64, state_hash: Digest) -> Option<Item> {
        if !self.ours.contains_key(&index) || self.attested.contains_key(&index) {
            return None;
        }
        self.attested.insert(index, state_hash);
        self.look(index);
        self.vote(index, state_hash)
    }

    /// Take the votes in an accepted event (C1).
    pub fn accept(&mut self, event: &Event) {
        if event.item_count == 0 {
            return;
        }
        let by = event.creator as usize;
        for item in event.items().filter(|item| item.r#type == ItemType::CheckpointVote as u16) {
            let Some(vote) = decode_checkpoint_vote(&item.body) else { continue };
            let (index, key) = (vote.index, (vote.index, vote.state_hash != NOT_ATTESTED));
            let votes = self.votes.entry(key).or_default();
            // Of several votes of one creator for one checkpoint the first counts, as in a count of events (Q3).
            if let std::collections::btree_map::Entry::Vacant(free) = votes.entry(by) {
                free.insert(vote);
                self.keep(by, key);
            }
            self.look(index);
        }
    }

    /// Wait for a certificate of the first checkpoint at an index or after it.
    pub fn certify(&mut self, index: u64) {
        self.wanted.push(index);
        if self.wanted.len() > MAX_CERTIFY {
            let oldest = self.wanted.remove(0);
            self.certificates.push(self.unknown(oldest));
        }
        self.certify_waiting();
    }

    /// Whether q creators have voted for our checkpoint at an index; their signatures are not looked at.
    #[must_use]
    pub fn is_voted(&self, index: u64) -> bool {
        let (Some(order_hash), Some(votes)) = (self.ours.get(&index), self.votes.get(&(index, false))) else {
            return false;
        };
        votes.values().filter(|vote| vote.order_hash == *order_hash).count() >= self.committee.q
    }

    /// The certificate of the order alone at our checkpoint at an index; None while votes are missing.
    #[must_use]
    pub fn certificate(&self, index: u64) -> Option<Certificate> {
        let (order_hash, state_hash) = (*self.ours.get(&index)?, NOT_ATTESTED);
        let votes = self.votes.get(&(index, false))?;
        let (signers, signatures) = self.signed(index, &order_hash, &state_hash, votes)?;
        Some(Certificate { wanted: index, index, order_hash, state_hash, signers, signatures, epoch: self.number })
    }

    /// Certificates that were waited for, since they were taken last.
    pub fn take_certificates(&mut self) -> Vec<Certificate> {
        std::mem::take(&mut self.certificates)
    }

    /// The first contradiction, once.
    pub fn take_divergence(&mut self) -> Option<Divergence> {
        self.divergence.take()
    }

    // -- private ----------------------------------------------------------------------------------

    fn reached(&mut self, index: u64, order_hash: Digest) -> Option<Item> {
        self.ours.insert(index, order_hash);
        if self.ours.len() > MAX_CHECKPOINTS
            && let Some((oldest, _)) = self.ours.pop_first()
        {
            self.known_from = oldest + 1;
            self.attested.remove(&oldest);
        }
        self.look(index);
        self.vote(index, NOT_ATTESTED)
    }

    fn vote(&self, index: u64, state_hash: Digest) -> Option<Item> {
        if self.own >= self.committee.n {
            return None;
        }
        let order_hash = *self.ours.get(&index)?;
        let signature =
            self.signer.sign(&checkpoint_message(&self.committee.epoch_id, index, &order_hash, &state_hash));
        let body = encode_checkpoint_vote(&CheckpointVote { index, order_hash, state_hash, signature });
        Some(Item { r#type: ItemType::CheckpointVote as u16, body })
    }

    /// Note that a vote of a creator is kept, and forget its oldest one when these are too many.
    fn keep(&mut self, by: usize, key: (u64, bool)) {
        self.kept[by].push_back(key);
        if self.kept[by].len() > 2 * MAX_CHECKPOINTS
            && let Some(oldest) = self.kept[by].pop_front()
            && let Some(votes) = self.votes.get_mut(&oldest)
        {
            votes.remove(&by);
            if votes.is_empty() {
                self.votes.remove(&oldest);
            }
        }
    }

    /// Compare what is said of a checkpoint with what we have there, and certify it if somebody waits.
    fn look(&mut self, index: u64) {
        let Some(&ours) = self.ours.get(&index) else { return };
        if let Some(votes) = self.votes.get(&(index, false)) {
            let others: Vec<Digest> = votes.values().map(|vote| vote.order_hash).filter(|hash| *hash != ours).collect();
            if others.len() > self.committee.f
                && let Some((theirs, _)) = most_frequent(&others)
            {
                // C4: one of them at least is honest
                self.contradicted(Divergence { index, ours, theirs, is_state: false });
            }
        }
        if let (Some(&state), Some(votes)) = (self.attested.get(&index), self.votes.get(&(index, true))) {
            let states: Vec<Digest> =
                votes.values().filter(|vote| vote.order_hash == ours).map(|vote| vote.state_hash).collect();
            if let Some((theirs, count)) = most_frequent(&states)
                && theirs != state
                && count >= self.committee.q
            {
                // we are the minority
                self.contradicted(Divergence { index, ours: state, theirs, is_state: true });
            }
        }
        if !self.wanted.is_empty() {
            self.certify_waiting();
        }
    }

    fn contradicted(&mut self, divergence: Divergence) {
        if !self.diverged {
            self.diverged = true;
            self.divergence = Some(divergence);
        }
    }

    fn certify_waiting(&mut self) {
        let mut waiting = Vec::new();
        for wanted in std::mem::take(&mut self.wanted) {
            match self.certificate_for(wanted) {
                None => waiting.push(wanted),
                Some(certificate) => self.certificates.push(certificate),
            }
        }
        self.wanted = waiting;
    }

    /// A certificate if there can be one, None while votes are missing; what is attested goes first.
    fn certificate_for(&self, wanted: u64) -> Option<Certificate> {
        if wanted < self.known_from {
            return Some(self.unknown(wanted));
        }
        for (&index, &order_hash) in self.ours.range(wanted..) {
            for attested in [true, false] {
                let Some(votes) = self.votes.get(&(index, attested)) else { continue };
                let states: BTreeSet<Digest> = votes.values().map(|vote| vote.state_hash).collect();
                for state_hash in states {
                    if let Some((signers, signatures)) = self.signed(index, &order_hash, &state_hash, votes) {
                        let epoch = self.number;
                        return Some(Certificate { wanted, index, order_hash, state_hash, signers, signatures, epoch });
                    }
                }
            }
        }
        None
    }

    /// Signers and signatures of q good votes for one content, None while there are fewer.
    fn signed(
        &self,
        index: u64,
        order_hash: &Digest,
        state_hash: &Digest,
        votes: &Votes,
    ) -> Option<(Creators, Vec<u8>)> {
        let alike = votes.iter().filter(|(_, vote)| vote.order_hash == *order_hash && vote.state_hash == *state_hash);
        if alike.clone().count() < self.committee.q {
            return None;
        }
        let message = checkpoint_message(&self.committee.epoch_id, index, order_hash, state_hash);
        let good = alike.filter(|&(&by, vote)| self.committee.verify(by, &message, &vote.signature));
        let (mut signers, mut signatures) = (0, Vec::new());
        for (&by, vote) in good.take(self.committee.q) {
            signers |= creator(by);
            signatures.extend(vote.signature);
        }
        (signers.count_ones() as usize == self.committee.q).then_some((signers, signatures))
    }

    fn unknown(&self, wanted: u64) -> Certificate {
        Certificate {
            wanted,
            index: wanted,
            order_hash: NOT_ATTESTED,
            state_hash: NOT_ATTESTED,
            signers: 0,
            signatures: Vec::new(),
            epoch: self.number,
        }
    }
}

/// The value that is there most often, the first of several, and how often.
fn most_frequent(values: &[Digest]) -> Option<(Digest, usize)> {
    let mut best: Option<(Digest, usize)> = None;
    for value in values {
        let count = values.iter().filter(|other| *other == value).count();
        if best.is_none_or(|(_, most)| count > most) {
            best = Some((*value, count));
        }
    }
    best
}

const _: () = assert!(NOT_ATTESTED.len() == HASH_BYTES);

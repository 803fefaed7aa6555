//! One peer in one epoch: routes inputs to the steps that obey the rules, and holds no rules itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::bits::{Creators, creator};
use crate::checkpoint::{Certificate, Checkpoints};
use crate::committee::Committee;
use crate::config::{Local, MachineConfig, Network};
use crate::crypto::{Signer, blake3};
use crate::dag::{Dag, NodeRef};
use crate::decide::Decider;
use crate::epoch::Epoch;
use crate::error::{Error, Reject};
use crate::exchange::{Desk, Exchange};
use crate::input::Input;
use crate::items::{Vote, encode_vote};
use crate::journal::{EpochStart, Place, encode_peer_event};
use crate::order::Orderer;
use crate::output::Output;
use crate::propose::{Made, Poll, Proposer, View};
use crate::recover::{COPIED, NOT_OURS, Past, Stored};
use crate::retain::Retention;
use crate::roster::{NO_SEAT, Places, Roster};
use crate::timer::Timer;
use crate::values::{Digest, Event, Item, ItemType, Message, SyncPoint};
use crate::verify::{PARALLEL_SIGNATURES, check_ancestors, check_form, check_signature, check_signatures};
use crate::wire::{self, FrameType};

/// What the randomness of an epoch after the first is hashed with.
pub const DOMAIN_EPOCH_ENTROPY: &[u8] = b"syncpoint/epoch-entropy/v1";
/// Rounds above the top: beyond, whole rounds are pulled rather than single parents.
pub const PULL_GAP: u64 = 3;

/// All that depends on a committee, for as long as it decides; `Machine` leads from one to the next.
///
/// Inside, peers are indices in the order of keys: creators, then observers, then whoever is no member in this epoch.
pub struct Replica {
    pub(crate) network: Network,
    local: Local,
    pub(crate) committee: Committee,
    /// Of the epoch.
    pub(crate) number: u32,
    pub(crate) peers: Places,
    pub(crate) is_member: bool,
    /// Our index.
    pub(crate) own: usize,
    /// We follow and serve, and make no events (Q4).
    pub(crate) observes: bool,
    now: u64,
    pub(crate) dag: Dag,
    pub(crate) decider: Decider,
    pub(crate) orderer: Orderer,
    pub(crate) timer: Timer,
    pub(crate) proposer: Proposer,
    pub(crate) epoch: Epoch,
    checkpoints: Checkpoints,
    pub(crate) exchange: Exchange,
    pub(crate) retention: Retention,
    pub(crate) outputs: Vec<Output>,
    /// Records of what others sent.
    accepted: Vec<Bytes>,
    pub(crate) rejects: BTreeMap<Reject, u64>,
    pub(crate) equivocators: Creators,
    pub(crate) halted: Option<String>,
    /// For an own event to be durable (J1).
    pub(crate) is_waiting: bool,
    /// Since the queue was reported last.
    submitted: bool,
    queued: (usize, usize),
    /// ns, when to ask the proposer again.
    propose_at: Option<u64>,
}

impl Replica {
    /// What we are in the epoch with a number, as the holder of a key; `network_id` is the id of the first epoch.
    #[must_use]
    pub fn new(
        config: &MachineConfig,
        roster: Roster,
        committee: Committee,
        network_id: Digest,
        number: u32,
        signer: Arc<Signer>,
    ) -> Self {
        let (n, network, local) = (committee.n, roster.network.clone(), config.local.clone());
        let peers = Places::new(&roster, &committee);
        let found = committee.number(&signer.public());
        let own = found.unwrap_or_else(|| peers.index_of(NO_SEAT));
        let entropy = if number == 0 {
            config.entropy
        } else {
            blake3(&[DOMAIN_EPOCH_ENTROPY, &committee.epoch_id, &config.entropy].concat())
        };
        let epoch_ns = network.epoch_ms * 1_000_000;
        let keys = Arc::clone(&signer);
        Self {
            peers,
            is_member: found.is_some(),
            own,
            observes: own >= n,
            now: 0,
            dag: Dag::new(n),
            decider: Decider::new(committee.clone(), network.rule),
            orderer: Orderer::new(committee.clone(), network.order, network.gc_depth, number),
            timer: Timer::new(&committee, own),
            proposer: Proposer::new(network.clone(), committee.clone(), local.clone(), own, keys, entropy, number),
            epoch: Epoch::new(committee.clone(), epoch_ns, Some(roster), number, Some(network_id)),
            checkpoints: Checkpoints::new(committee.clone(), own, signer, number),
            exchange: Exchange::new(&network, &committee, &local, own, number),
            retention: Retention::new(&network, &local, n),
            outputs: Vec::new(),
            accepted: Vec::new(),
            rejects: BTreeMap::new(),
            equivocators: 0,
            halted: None,
            is_waiting: false,
            submitted: false,
            queued: (0, 0),
            propose_at: None,
            number,
            committee,
            network,
            local,
        }
    }

    // -- beginnings -------------------------------------------------------------------------------

    /// Take up the store: what was in the DAG is in it again, and nothing is delivered twice (R1).
    ///
    /// `start` is how this epoch began, None of the first one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a store that contradicts itself.
    pub fn start(&mut self, past: Past, whole: bool, start: Option<&EpochStart>, now: u64) -> Result<(), Error> {
        self.now = now;
        self.exchange.rest(now);
        self.exchange.recovery.start(whole);
        let mut state = past.state;
        if let Some(start) = start {
            self.orderer.follow(start.next_index, start.consensus_at, start.order_hash);
            self.checkpoints.follow(start.next_index, start.order_hash);
            state = state.or_else(|| Some(start.state.clone()));
        }
        if let Some(place) = past.place {
            self.begin(place);
        }
        if let Some(state) = state {
            self.epoch.restore(&state)?;
        }
        for Stored { event, epoch, taken_over } in past.events {
            let is_here = epoch == self.number;
            if let Some(taken_over) = taken_over {
                if is_here && event.creator as usize != self.own {
                    return Err(Error::Corrupt(NOT_OURS.into()));
                }
                self.proposer.restore(&event, epoch, &taken_over);
                if is_here {
                    self.exchange.recovery.journaled(&event);
                }
            }
            if is_here {
                self.restore(event)?;
            }
        }
        for height in past.delivered {
            self.proposer.was_delivered(height);
        }
        self.proposer.expire(0); // what lies in epochs that are over
        Ok(())
    }

    /// Go on where the epoch before ended (S4); `whole` says that our journal has all that we ever signed.
    pub fn follow(&mut self, before: &mut Self, whole: bool, now: u64) {
        self.now = now;
        self.exchange.rest(now);
        self.exchange.recovery.start(whole);
        if whole {
            self.exchange.recovery.believe(); // what the journal does not have of this epoch we have not signed
        }
        self.orderer.follow(before.orderer.index, before.orderer.consensus_at, before.orderer.order_hash);
        self.checkpoints.follow(before.orderer.index, before.orderer.order_hash);
        self.epoch = before.epoch.next_epoch(self.committee.clone(), self.network.epoch_ms * 1_000_000);
        self.proposer.follow(&mut before.proposer);
        self.decider.follow(&before.decider);
        let numbers = (0..self.committee.n).map(|creator| self.peers.number_of(creator));
        self.timer.follow(&before.timer, numbers.map(|number| before.peers.index_of(number)));
        self.rejects = std::mem::take(&mut before.rejects);
        self.halted.clone_from(&before.halted);
        self.queued = before.queued;
        for &peer in &before.exchange.fetcher.linked {
            let peer = self.peers.index_of(before.peers.number_of(peer));
            self.input(Input::Connected { peer }, &mut Early::new(), now);
        }
    }

    /// The sync point that ends the epoch, once q have signed it (S4); None before, and while we are needed.
    #[must_use]
    pub fn transition(&self) -> Option<(SyncPoint, Certificate)> {
        let fence = self.epoch.fence.as_ref()?;
        let certificate = self.checkpoints.certificate(fence.index)?;
        if self.is_needed() { None } else { Some((fence.clone(), certificate)) }
    }

    /// Whether it removes us, and f + 1 who stay have not gone on yet: they may need what we have signed (S6).
    fn is_needed(&self) -> bool {
        let roster = self.epoch.next_roster.as_ref().expect("a fence leads somewhere");
        let number = self.peers.number_of(self.own);
        let stays = roster.seats.iter().any(|seat| seat.number == number);
        !stays && self.orders(self.own) && !self.exchange.is_over()
    }

    // -- what a machine asks for ------------------------------------------------------------------

    /// Order what closed, after what follows from the inputs of a step is written (J2).
    pub fn close(&mut self, now: u64) {
        self.now = now;
        if !self.accepted.is_empty() {
            let records = std::mem::take(&mut self.accepted);
            self.outputs.push(Output::Write { records });
        }
        self.close_rounds();
        self.tell();
    }

    /// A hash of all that the peers must come to agree on, and of what it will be computed from.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut data = self.orderer.order_hash.to_vec();
        data.extend(self.orderer.index.to_le_bytes());
        data.extend(self.decider.closed.to_le_bytes());
        data.extend(self.epoch.encode());
        data.extend(self.decider.snapshot(&self.dag));
        blake3(&data)
    }

    // -- inputs -----------------------------------------------------------------------------------

    /// Take what happened; its peer is an index.
    ///
    /// `early` has what was found out about the frames in it before.
    pub(crate) fn input(&mut self, input: Input, early: &mut Early, now: u64) {
        self.now = now;
        match input {
            Input::Received { peer, frames } => {
                for frame in frames {
                    let checked = early.pop_front().flatten();
                    self.frame(peer, &frame, checked);
                }
            }
            Input::Submit { transactions } => {
                assert!(!self.is_member || !self.observes, "the engine of an observer takes no transactions");
                self.proposer.submit(transactions);
                self.submitted = true;
            }
            Input::Propose { body } => self.proposer.say(Item { r#type: ItemType::Propose as u16, body }, true),
            Input::Vote { proposal, approves } => {
                let body = encode_vote(&Vote { proposal, approves });
                self.proposer.say(Item { r#type: ItemType::Vote as u16, body }, true);
            }
            Input::Attest { index, state_hash } => {
                if let Some(vote) = self.checkpoints.attest(index, state_hash) {
                    self.proposer.say(vote, true);
                }
            }
            Input::Certify { index } => self.checkpoints.certify(index),
            Input::Connected { peer } => {
                let (exchange, mut desk) = self.exchange();
                exchange.connected(peer, &mut desk);
                if self.orders(peer) {
                    self.timer.linked |= creator(peer);
                }
            }
            Input::Disconnected { peer } => {
                self.exchange.fetcher.disconnected(peer);
                if self.orders(peer) {
                    self.timer.linked &= !creator(peer);
                }
            }
            Input::Start { .. } | Input::NextKey { .. } | Input::Persisted { .. } => {
                unreachable!("an input for the machine itself")
            }
        }
    }

    /// Rounds up to a place will close once more, and nothing comes of it.
    fn begin(&mut self, place: Place) {
        let floor = place.round.saturating_sub(self.retention.rounds);
        self.dag.begin(floor);
        self.decider.begin(floor);
        self.orderer.begin(floor, place);
        self.checkpoints.begin(place.next_index);
    }

    /// Put an event of the store where it was; it was checked before it was stored.
    fn restore(&mut self, event: Arc<Event>) -> Result<(), Error> {
        let known = self.dag.contains(&event.digest) || self.exchange.fetcher.contains(&event.digest);
        if event.round <= self.dag.floor || known {
            return Ok(());
        }
        let Some(parents) = self.dag.parents_above_floor(&event) else {
            let _ = self.take(event, self.own); // what it builds on is to be fetched
            return Ok(());
        };
        if event.round > self.dag.top + 1 {
            let text = format!("the journal holds an event of round {} that builds on nothing", event.round);
            return Err(Error::Corrupt(text));
        }
        self.enter(&event, &parents);
        Ok(())
    }

    fn frame(&mut self, peer: usize, frame: &Bytes, checked: Option<Checked>) {
        let taken = match frame.first().copied().map(FrameType::of) {
            None => Err(Reject::FrameEmpty),
            Some(Some(FrameType::Event)) => self.event_frame(peer, frame, checked),
            Some(Some(kind @ (FrameType::Request | FrameType::Frontier | FrameType::Pull))) => {
                let (exchange, mut desk) = self.exchange();
                exchange.frame(peer, kind, frame, &mut desk)
            }
            Some(_) => Err(Reject::FrameType),
        };
        if let Err(reject) = taken {
            self.reject(peer, reject);
        }
    }

    fn event_frame(&mut self, peer: usize, frame: &Bytes, checked: Option<Checked>) -> Result<(), Reject> {
        let Checked { event, signed } = checked.unwrap_or_else(|| self.decode(frame));
        if matches!(event, Err(Reject::Epoch)) {
            self.pull(peer); // it may be ahead of us by an epoch, or behind
        }
        let event = event?;
        if self.dag.contains(&event.digest) || self.exchange.fetcher.contains(&event.digest) {
            return Ok(());
        }
        if self.exchange.fetcher.is_refused(&event.digest) {
            return Err(Reject::InvalidAncestor);
        }
        if self.too_old(&event) {
            return Err(Reject::TooOld);
        }
        if event.round > self.dag.top + self.network.max_ahead {
            self.exchange.recovery.claims(peer, event.round);
            self.pull(peer);
            return Err(Reject::Ahead); // V7
        }
        let is_through = self.exchange.is_through(peer);
        if !is_through && self.is_spare(&event) {
            return Err(Reject::Equivocation); // F2
        }
        check_form(&event, &self.committee, self.network.gc_depth)?;
        if !signed.unwrap_or_else(|| check_signature(&event, &self.committee)) {
            return Err(Reject::Signature);
        }
        if is_through && !self.dag.row(event.round).variants(event.creator as usize).is_empty() {
            self.exchange.fetcher.admit(&event, peer);
        }
        if event.creator as usize == self.own && self.exchange.recovery.is_copied(&event) {
            self.halt(Some(format!(
                "an event of round {} carries our signature, and not by us: {COPIED}",
                event.round
            )));
            self.reject(peer, Reject::NotOurs); // R5; taken all the same, as others build on it
        }
        if event.round > self.dag.top + PULL_GAP {
            self.pull(peer);
        }
        self.take(Arc::new(event), peer)
    }

    fn decode(&self, frame: &Bytes) -> Checked {
        let event = wire::decode_event(frame, &self.committee.epoch_id, &self.network);
        Checked { event, signed: None }
    }

    /// Decode the frames of a large step and check their signatures on several threads: the same answers, sooner.
    ///
    /// Only what would be checked anyway is: nothing that is here, refused, too old, too far ahead or spare.
    pub(crate) fn check_early(&self, inputs: &[Input]) -> Early {
        let threads = self.local.verify_threads;
        let frames = inputs.iter().flat_map(|input| match input {
            Input::Received { frames, .. } => frames.as_slice(),
            _ => &[],
        });
        let is_event = |frame: &Bytes| frame.first() == Some(&(FrameType::Event as u8));
        if threads < 2 || frames.clone().filter(|frame| is_event(frame)).count() < PARALLEL_SIGNATURES {
            return Early::new();
        }
        let mut early: Early = frames.map(|frame| is_event(frame).then(|| self.decode(frame))).collect();
        let mut seen = BTreeSet::new();
        let chosen: Vec<bool> = early
            .iter()
            .map(|checked| {
                checked.as_ref().and_then(|checked| checked.event.as_ref().ok()).is_some_and(|event| {
                    !self.dag.contains(&event.digest)
                        && !self.exchange.fetcher.contains(&event.digest)
                        && !self.exchange.fetcher.is_refused(&event.digest)
                        && !self.too_old(event)
                        && event.round <= self.dag.top + self.network.max_ahead
                        && !self.is_spare(event)
                        && check_form(event, &self.committee, self.network.gc_depth).is_ok()
                        && seen.insert(event.digest)
                })
            })
            .collect();
        let events: Vec<&Event> = early
            .iter()
            .zip(&chosen)
            .filter(|(_, chosen)| **chosen)
            .filter_map(|(checked, _)| checked.as_ref()?.event.as_ref().ok())
            .collect();
        let mut verdicts = check_signatures(&events, &self.committee, threads).into_iter();
        for (checked, _) in early.iter_mut().zip(chosen).filter(|(_, chosen)| *chosen) {
            checked.as_mut().expect("an event").signed = verdicts.next();
        }
        early
    }

    // -- events on their way into the DAG ---------------------------------------------------------

    /// Accept an event whose parents are here, and what waited for it; let it wait else (F1).
    fn take(&mut self, event: Arc<Event>, sender: usize) -> Result<(), Reject> {
        let missing: BTreeSet<Digest> =
            event.parents().filter(|parent| self.dag.find(parent).is_none()).map(|parent| parent.digest).collect();
        self.one_variant(&event, (!missing.is_empty()).then_some(sender))?;
        if !missing.is_empty() {
            return self.exchange.fetcher.hold(event, sender, missing, self.now);
        }
        let mut ready = vec![(event, sender)];
        while let Some((event, sender)) = ready.pop() {
            match self.accept(&event) {
                Ok(()) => {
                    if sender != self.own && self.local.stores {
                        self.accepted.push(encode_peer_event(event.frame()));
                    }
                    ready.extend(self.exchange.fetcher.accepted(&event.digest, sender));
                }
                Err(reject) => {
                    if !matches!(reject, Reject::Equivocation | Reject::TooOld) {
                        for child_sender in self.exchange.fetcher.refuse(event.digest) {
                            self.reject(child_sender, Reject::InvalidAncestor);
                        }
                    }
                    self.reject(sender, reject);
                }
            }
        }
        Ok(())
    }

    /// Whether so little lies below it that its validity can no longer be checked (F4, V4).
    fn too_old(&self, event: &Event) -> bool {
        self.dag.floor > 0 && event.round <= self.dag.floor + self.network.gc_depth
    }

    fn accept(&mut self, event: &Arc<Event>) -> Result<(), Reject> {
        if self.too_old(event) {
            return Err(Reject::TooOld);
        }
        self.one_variant(event, None)?;
        // What was here and is dropped is older than the reference says.
        let parents = self.dag.parents_of(event).ok_or(Reject::ParentMismatch)?;
        check_ancestors(event, &parents, &self.dag, self.network.gc_depth)?;
        self.enter(event, &parents);
        Ok(())
    }

    /// Put an event into the DAG, and tell everybody whom it concerns.
    fn enter(&mut self, event: &Arc<Event>, parents: &[NodeRef]) {
        let at = self.dag.insert(Arc::clone(event), parents);
        if !self.observes {
            // else nobody waits for anything
            self.timer.accepted(at.round, event.creator as usize, self.now);
        }
        if self.proposer.exposed >> event.creator & 1 == 0 {
            // else nobody refers to it (P7), and nobody waits for it
            self.orderer.accept(at, &self.dag);
        }
        self.proposer.accept(at, &self.dag);
        self.decider.insert(at, &self.dag);
        self.checkpoints.accept(event);
        if self.proposer.is_copied {
            self.halt(Some(format!("there is evidence that our key signed two events for one slot: {COPIED}")));
        }
    }

    /// A second variant of a slot is stored only when another event refers to it (F2).
    fn one_variant(&mut self, event: &Event, sender: Option<usize>) -> Result<(), Reject> {
        let by = event.creator as usize;
        let row = self.dag.row(event.round);
        if let Some(&index) = row.variants(by).first() {
            self.equivocators |= creator(by);
            self.proposer.accuse(by, &row.nodes[index as usize].event, event);
        } else if sender.is_none_or(|sender| !self.exchange.fetcher.waits_in(event.round, event.creator, sender)) {
            return Ok(());
        }
        if self.exchange.fetcher.wants(&event.digest) { Ok(()) } else { Err(Reject::Equivocation) }
    }

    /// Whether a variant is refused whoever signed it.
    fn is_spare(&self, event: &Event) -> bool {
        self.proposer.is_spare(event, &self.dag) && !self.exchange.fetcher.wants(&event.digest)
    }

    /// Make no more events, if there is a reason and none was given before.
    pub fn halt(&mut self, reason: Option<String>) {
        if self.halted.is_none()
            && let Some(reason) = reason
        {
            self.halted = Some(reason.clone());
            self.outputs.push(Output::Halted { reason });
        }
    }

    // -- what follows from the inputs -------------------------------------------------------------

    /// Order what closed, and let go of what is too old to matter.
    fn close_rounds(&mut self) {
        let closing = self.decider.closing(&self.dag);
        let (mut messages, mut states) = (Vec::new(), Vec::new());
        for (round, committed) in &closing {
            if self.epoch.is_closed() {
                break; // nothing is delivered any more (S4)
            }
            for mut done in self.orderer.close(*round, committed, &self.dag) {
                self.epoch.count(&done);
                if done.event.creator as usize == self.own {
                    done.submissions = self.proposer.delivered(&done);
                }
                messages.push(Message::Event(done));
            }
            if !self.orderer.replays() {
                messages.extend(self.agree(*round).into_iter().map(Message::SyncPoint));
                states.extend(self.epoch.take_changes().map(|state| (*round, state)));
                self.proposer.expire(self.orderer.floor); // O11
            }
        }
        if !messages.is_empty() || !states.is_empty() {
            self.outputs.push(Output::Deliver { messages, states });
        }
        if !closing.is_empty() {
            self.exchange.closed = self.decider.closed;
            // Else it is quiet as long as we cannot take part, whatever the others do.
            if self.exchange.recovery.is_certain() {
                self.exchange.rest(self.now);
            }
            self.decider.prune(self.decider.closed);
            self.forget();
        }
    }

    /// The sync points at the end of a batch, and what we say of the order there (S2, C1).
    fn agree(&mut self, round: u64) -> Vec<SyncPoint> {
        let points = self.epoch.close(round, &mut self.orderer);
        for vote in self.checkpoints.close(round, &points, &self.orderer) {
            self.proposer.say(vote, !points.is_empty());
        }
        self.proposer.is_closing = self.epoch.is_closed();
        points
    }

    /// Tell the runtime what became of proposals, and of checkpoints.
    fn tell(&mut self) {
        for (ballot, how) in self.epoch.take_news() {
            let voted = self.observes || ballot.voted(self.own);
            self.outputs.push(match how {
                None => Output::Opened { ballot, voted },
                Some(outcome) => Output::Closed { proposal: ballot.id, outcome },
            });
        }
        let certificates = self.checkpoints.take_certificates().into_iter();
        self.outputs.extend(certificates.map(|certificate| Output::Certified { certificate }));
        let divergence = self.checkpoints.take_divergence();
        self.outputs.extend(divergence.map(|divergence| Output::Diverged { divergence }));
    }

    /// Drop rounds that neither we nor any peer that keeps up still need (F4).
    fn forget(&mut self) {
        let floor = self.retention.floor(self.decider.closed, self.dag.bytes);
        if floor > self.dag.floor {
            self.dag.prune(floor);
            self.proposer.prune(floor, &self.dag);
            self.exchange.fetcher.forget_below(floor + self.network.gc_depth);
            self.timer.prune(floor);
        }
    }

    /// The next event when it is time; it is sent once it is durable (J1).
    pub fn propose(&mut self) -> Option<Made> {
        self.propose_at = None;
        if self.may_propose() {
            let view = View { dag: &self.dag, decider: &self.decider, orderer: &self.orderer };
            match self.proposer.poll(self.now, view, &mut self.timer) {
                Poll::Made(made) => {
                    self.exchange.recovery.signed();
                    self.is_waiting = true;
                    return Some(made);
                }
                Poll::Later(at) => self.propose_at = at,
            }
        }
        None
    }

    /// Say how much is queued, if that changed.
    pub fn report(&mut self) {
        let queued = (self.proposer.queued(), self.proposer.queued_bytes);
        if self.submitted || queued != self.queued {
            self.submitted = false;
            self.queued = queued;
            self.outputs.push(Output::Queue { transactions: queued.0, bytes: queued.1 });
        }
    }

    fn may_propose(&mut self) -> bool {
        if self.observes || self.halted.is_some() || self.is_waiting {
            return false;
        }
        let hopeless = self.exchange.recovery.settle(&self.dag);
        self.halt(hopeless);
        let is_voted = self.orderer.index.checked_sub(1).is_some_and(|last| self.checkpoints.is_voted(last));
        self.proposer.is_certifying = self.epoch.is_closed() && !is_voted;
        let reach = self.retention.reach(self.dag.bytes);
        self.exchange.recovery.catch_up(self.proposer.base_round(), reach, &self.dag);
        self.proposer.late.line = self.exchange.recovery.late_round;
        self.proposer.keeps_up = self.exchange.recovery.keeps_up(self.proposer.base_round(), &self.dag);
        self.proposer.resume_round = self.exchange.recovery.resume_round;
        self.proposer.unknown_round = self.exchange.recovery.unknown_round;
        let may = self.exchange.recovery.is_certain() && !self.exchange.recovery.is_behind && !self.orderer.replays();
        may && self.proposer.base_round() >= self.exchange.recovery.journaled_round
    }

    /// An own event is durable: it goes into the DAG, and out.
    pub fn persisted(&mut self, event: Arc<Event>, now: u64) {
        (self.now, self.is_waiting) = (now, false);
        if self.halted.is_some() {
            return; // R5: another copy of us may have signed this slot as well
        }
        self.exchange.recovery.journaled(&event);
        let refused = self.take(Arc::clone(&event), self.own).is_err();
        assert!(!refused && self.dag.contains(&event.digest), "our own event was refused");
        self.outputs.push(Output::Broadcast { frame: event.frame().clone() });
    }

    /// Ask for what is missing; when to look again, and whether it is time for an event.
    pub fn fetch(&mut self) -> Option<u64> {
        let busy = !self.epoch.is_ended && (self.orderer.has_undelivered() || self.proposer.queued() > 0);
        let certain = self.exchange.recovery.is_certain() || self.halted.is_some();
        let (exchange, mut desk) = self.exchange();
        let due = exchange.poll(busy, certain, &mut desk);
        self.propose_at.into_iter().chain(due).min()
    }

    fn pull(&mut self, peer: usize) {
        let (exchange, mut desk) = self.exchange();
        exchange.pull(peer, &mut desk);
    }

    pub(crate) fn exchange(&mut self) -> (&mut Exchange, Desk<'_>) {
        (&mut self.exchange, Desk { now: self.now, dag: &self.dag, outputs: &mut self.outputs })
    }

    /// Whether a peer takes part in ordering; observers count for nothing (Q4).
    fn orders(&self, peer: usize) -> bool {
        peer < self.committee.n
    }

    /// Count that a frame of a peer was not taken, and say so.
    pub fn reject(&mut self, peer: usize, code: Reject) {
        *self.rejects.entry(code).or_default() += 1;
        if peer != self.own {
            self.outputs.push(Output::Rejected { peer, code });
        }
    }
}

/// What was found out about the frames of a step before they are routed, in their order; empty for small steps.
pub(crate) type Early = VecDeque<Option<Checked>>;

/// A decoded EVENT frame, and whether its signature is right where that was checked already.
pub(crate) struct Checked {
    event: Result<Event, Reject>,
    signed: Option<bool>,
}

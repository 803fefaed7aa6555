//! One running instance of the core: leads from epoch to epoch, and knows peers by numbers that outlast them (S4).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::committee::Committee;
use crate::config::MachineConfig;
use crate::crypto::Signer;
use crate::ended::EndedEpochs;
use crate::epoch::InOrder;
use crate::error::Error;
use crate::input::Input;
use crate::items::proposal_id;
use crate::journal::{EpochStart, encode_epoch_start, encode_own_event};
use crate::output::Output;
use crate::recover::read_store;
use crate::replica::{Early, Replica};
use crate::roster::{Roster, next_epoch_id};
use crate::status::{Status, status_of};
use crate::transition::{encode_transition, transition_of};
use crate::values::{Digest, Event};
use crate::wire::{self, FrameType};

/// Proposals that are open, or that we have asked for; of more the oldest one's end is not told.
pub const MAX_AWAITED: usize = 8_192;
/// What a halt says of a key that is no member any more.
pub const REMOVED: &str =
    "this key is no member any more: a sync point has removed it, and vote_add_node can let it in again";

/// Takes inputs, returns outputs; does no IO and reads no clock (L1).
pub struct Machine {
    config: MachineConfig,
    /// That we may be, the newest last.
    signers: Vec<Arc<Signer>>,
    network_id: Digest,
    ended: EndedEpochs,
    now: u64,
    started: bool,
    /// Our journal has all that we ever signed (R2).
    whole: bool,
    token: u64,
    /// By token: the number of an epoch, and our event in it; None: its beginning.
    persisting: BTreeMap<u64, (u32, Option<Arc<Event>>)>,
    /// Those of epochs that are over: of the last one, for peers that are not through with it, and of such in which an
    /// event of ours is not durable yet.
    before: Vec<Replica>,
    /// Ids of proposals whose end is to be told.
    awaited: InOrder<()>,
    /// The index of what was delivered first in this epoch.
    starts_at: u64,
    replica: Replica,
    /// Our number.
    pub own: usize,
}

impl Machine {
    /// A machine that was not started.
    ///
    /// # Errors
    /// [`Error::Argument`] for a network or a committee that cannot be, or one without our key.
    pub fn new(config: MachineConfig) -> Result<Self, Error> {
        config.network.check()?;
        let seeds = std::iter::once(&config.seed).chain(&config.next_seed);
        let signers: Vec<_> = seeds.map(|seed| Arc::new(Signer::new(seed, config.signatures))).collect();
        let roster = Roster::first(config.network.clone(), &config.members);
        // A caller's mistakes are said in its words, those of the committee.
        let committee = Committee::genesis(&config.network, &config.members, config.signatures)?;
        let network_id = committee.epoch_id;
        let key = signer_in(&roster, &signers);
        let replica = Self::make_replica(&config, roster, committee, network_id, 0, key);
        if !replica.is_member && !config.joins {
            return Err(Error::Argument("our own key is not in the committee".into()));
        }
        Ok(Self {
            signers,
            network_id,
            ended: EndedEpochs::new(&config.local),
            now: 0,
            started: false,
            whole: true,
            token: 0,
            persisting: BTreeMap::new(),
            before: Vec::new(),
            awaited: InOrder::default(),
            starts_at: 0,
            own: replica.peers.number_of(replica.own),
            replica,
            config,
        })
    }

    // -- the seam ---------------------------------------------------------------------------------

    /// Take in what happened until `now` (ns since the Unix epoch, never decreasing); what to do about it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a journal that contradicts itself; nothing may be asked of the machine after that.
    pub fn step(&mut self, now: u64, inputs: Vec<Input>) -> Result<Vec<Output>, Error> {
        assert!(now >= self.now, "time went back");
        self.now = now;
        let mut outputs = Vec::new();
        let mut early = self.replica.check_early(&inputs);
        for input in inputs {
            self.route(input, &mut early, &mut outputs)?;
        }
        self.replica.close(now);
        drain(&mut self.replica, &mut outputs);
        self.follow(&mut outputs)?;
        let made = if self.started { self.replica.propose() } else { None };
        if let Some(made) = made {
            let record = encode_own_event(made.event.frame(), &made.taken_over);
            outputs.push(self.persist(record, Some(made.event)));
        }
        self.replica.report();
        let due = if self.started { self.replica.fetch() } else { None };
        drain(&mut self.replica, &mut outputs);
        if let Some(at) = due {
            outputs.push(Output::Wake { at: at.max(now) });
        }
        outputs.retain(|output| self.is_told(output));
        Ok(outputs)
    }

    /// A snapshot for people and metrics.
    #[must_use]
    pub fn status(&self) -> Status {
        status_of(&self.replica)
    }

    /// A hash of all that the peers must come to agree on, and of what it will be computed from.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.replica.digest()
    }

    /// That of the epoch that we are in.
    #[must_use]
    pub fn committee(&self) -> &Committee {
        &self.replica.committee
    }

    /// What we are in the epoch with a number; tests have others.
    pub(crate) fn make_replica(
        config: &MachineConfig,
        roster: Roster,
        committee: Committee,
        network_id: Digest,
        number: u32,
        signer: Arc<Signer>,
    ) -> Replica {
        Replica::new(config, roster, committee, network_id, number, signer)
    }

    // -- inputs -----------------------------------------------------------------------------------

    fn route(&mut self, input: Input, early: &mut Early, outputs: &mut Vec<Output>) -> Result<(), Error> {
        let (now, number) = (self.now, self.replica.number);
        match input {
            Input::Start { records, whole } => {
                early.clear(); // it was found out by the rules of the first epoch
                self.start(&records, whole)?;
            }
            Input::Persisted { token } => self.persisted(token, outputs),
            Input::NextKey { seed } => {
                self.signers.push(Arc::new(Signer::new(&seed, self.config.signatures)));
            }
            Input::Propose { body } => {
                self.waits_for(proposal_id(&self.network_id, self.own as u16, &body));
                self.replica.input(Input::Propose { body }, early, now);
            }
            Input::Certify { index } if index < self.starts_at && !self.before.is_empty() => {
                let before = self.before.last_mut().expect("there is one");
                before.input(input, early, now); // the votes of its checkpoints are there
                before.close(now);
                drain(before, outputs);
                self.count_rejects();
            }
            Input::Received { peer, frames } => {
                let (mut kept, mut checked) = (Vec::with_capacity(frames.len()), Early::new());
                for frame in frames {
                    let found = early.pop_front().flatten();
                    if !self.is_over(peer, &frame, outputs) {
                        kept.push(frame);
                        checked.push_back(found);
                    }
                }
                let input = Input::Received { peer: self.replica.peers.index_of(peer), frames: kept };
                self.replica.input(input, &mut checked, now);
            }
            Input::Connected { peer } => {
                let peer = self.replica.peers.index_of(peer);
                self.replica.input(Input::Connected { peer }, early, now);
            }
            Input::Disconnected { peer } => {
                let peer = self.replica.peers.index_of(peer);
                self.replica.input(Input::Disconnected { peer }, early, now);
            }
            input => self.replica.input(input, early, now),
        }
        if self.replica.number == number {
            drain(&mut self.replica, outputs); // else it comes with that of the next input, as in the Python core
        }
        Ok(())
    }

    /// Take up the store, in the newest epoch that it has.
    fn start(&mut self, records: &[Bytes], whole: bool) -> Result<(), Error> {
        assert!(!self.started, "started twice");
        (self.started, self.whole) = (true, whole);
        let mut past = read_store(records, &self.replica.committee, &self.config.network)?;
        let mut last = None;
        for start in std::mem::take(&mut past.epochs) {
            let replica = &self.replica;
            if start.reached.len() != replica.committee.n {
                let text = format!("the journal holds the beginning of epoch {} behind another one", start.number);
                return Err(Error::Corrupt(text));
            }
            self.ended.add(replica.committee.clone(), replica.network.gc_depth, start.reached.clone());
            self.replica = self.replica_of(start.roster.clone(), start.epoch_id, start.number)?;
            self.starts_at = start.next_index;
            last = Some(start);
        }
        self.replica.start(past, whole, last.as_ref(), self.now)?;
        self.look_for_us();
        Ok(())
    }

    /// Whether a frame speaks of an epoch that is over; who sends it has to get on (S4).
    fn is_over(&mut self, peer: usize, frame: &[u8], outputs: &mut Vec<Output>) -> bool {
        let (newest, now) = (self.replica.number, self.now);
        let kind = frame.first().copied().and_then(FrameType::of);
        if newest == 0 || !matches!(kind, Some(FrameType::Frontier | FrameType::Pull)) {
            return false;
        }
        let Some(number) = wire::epoch_of_frontier(frame).ok().filter(|&number| number < newest) else { return false };
        let index = self.replica.peers.index_of(peer);
        let answered = if kind == Some(FrameType::Frontier) {
            let (exchange, mut desk) = self.replica.exchange();
            exchange.tell(index, &mut desk); // it pulls from whoever is ahead
            Ok(())
        } else if let Some(before) = self.before.last_mut().filter(|before| before.number == number) {
            let index = before.peers.index_of(peer);
            let (exchange, mut desk) = before.exchange();
            desk.now = now;
            let answered = exchange.answer(index, frame, &mut desk);
            drain(before, outputs);
            answered
        } else {
            self.ended.answer(peer, number, frame, now, outputs)
        };
        if let Err(reject) = answered {
            self.replica.reject(index, reject);
        }
        true
    }

    fn persisted(&mut self, token: u64, outputs: &mut Vec<Output>) {
        assert!(!self.persisting.is_empty(), "nothing was being persisted");
        let (number, event) = self.persisting.remove(&token).expect("another token was being persisted");
        let (now, newest) = (self.now, self.replica.number);
        let replica = if number == self.replica.number {
            Some(&mut self.replica)
        } else {
            self.before.iter_mut().find(|before| before.number == number)
        };
        let Some(replica) = replica else { return }; // the beginning of an epoch that is over
        if let Some(event) = event {
            replica.persisted(event, now);
        } else if replica.number == newest {
            let (exchange, mut desk) = replica.exchange();
            desk.now = now;
            exchange.begin(&mut desk);
        }
        drain(replica, outputs);
        self.count_rejects();
        self.forget_before();
    }

    // -- epochs -----------------------------------------------------------------------------------

    /// Begin the next epoch when the committee of this one has signed what ends it (S4).
    fn follow(&mut self, outputs: &mut Vec<Output>) -> Result<(), Error> {
        let Some((fence, certificate)) = self.replica.transition() else { return Ok(()) };
        let before = &self.replica;
        let roster = before.epoch.next_roster.clone().expect("a fence leads somewhere");
        let epoch_id = next_epoch_id(&before.committee.epoch_id, &fence.digest, &fence.order_hash);
        let transition = encode_transition(&transition_of(&fence, before.epoch.before_fence, certificate));
        let mut replica = self.replica_of(roster.clone(), epoch_id, before.number + 1)?;
        replica.exchange.is_begun = false;
        replica.follow(&mut self.replica, self.whole, self.now);
        let before = std::mem::replace(&mut self.replica, replica);
        let reached = before.dag.frontier.clone();
        self.ended.add(before.committee.clone(), before.network.gc_depth, reached.clone());
        self.before.push(before);
        self.forget_before();
        self.starts_at = fence.index + 1;
        let start = EpochStart {
            number: self.replica.number,
            epoch_id,
            next_index: fence.index + 1,
            consensus_at: fence.consensus_at,
            order_hash: fence.order_hash,
            roster,
            reached,
            state: self.replica.epoch.encode().into(),
            transition,
        };
        // What is persisted first is durable first, so nothing of this epoch is sent before its beginning is durable.
        outputs.push(self.persist(encode_epoch_start(&start), None));
        outputs.push(Output::Entered { start });
        self.look_for_us();
        self.replica.close(self.now);
        drain(&mut self.replica, outputs);
        Ok(())
    }

    fn replica_of(&self, roster: Roster, epoch_id: Digest, number: u32) -> Result<Replica, Error> {
        let committee = roster.committee(epoch_id, self.config.signatures)?;
        let key = signer_in(&roster, &self.signers);
        Ok(Self::make_replica(&self.config, roster, committee, self.network_id, number, key))
    }

    /// A peer that was removed makes nothing more; one that joins waits until it is let in.
    fn look_for_us(&mut self) {
        let replica = &mut self.replica;
        self.own = replica.peers.number_of(replica.own);
        if !replica.is_member && !self.config.joins {
            replica.halt(Some(REMOVED.into()));
        }
    }

    /// Keep the last epoch, and those in which an event of ours is not durable yet.
    fn forget_before(&mut self) {
        let last = self.before.last().map(|before| before.number);
        let persisting = &self.persisting;
        let waits = |number: u32| persisting.values().any(|(of, event)| *of == number && event.is_some());
        self.before.retain(|before| Some(before.number) == last || waits(before.number));
    }

    /// What was refused in epochs that are over counts in this one.
    fn count_rejects(&mut self) {
        for before in &mut self.before {
            for (code, times) in std::mem::take(&mut before.rejects) {
                *self.replica.rejects.entry(code).or_default() += times;
            }
        }
    }

    // -- outputs ----------------------------------------------------------------------------------

    fn waits_for(&mut self, proposal: Digest) {
        self.awaited.insert(proposal, ());
        if self.awaited.len() > MAX_AWAITED {
            let oldest = self.awaited.first().expect("there are many");
            self.awaited.remove(&oldest);
        }
    }

    /// Whether the runtime is told that a proposal is open, or decided: the latter once, and if it knows of it.
    ///
    /// What never was open, or was forgotten since, comes as often as its proposer repeats it.
    fn is_told(&mut self, output: &Output) -> bool {
        match output {
            Output::Opened { ballot, .. } => {
                self.waits_for(ballot.id);
                true
            }
            Output::Closed { proposal, .. } => self.awaited.remove(proposal).is_some(),
            _ => true,
        }
    }

    fn persist(&mut self, record: Bytes, event: Option<Arc<Event>>) -> Output {
        self.token += 1;
        self.persisting.insert(self.token, (self.replica.number, event));
        Output::Persist { token: self.token, records: vec![record] }
    }
}

/// Who we are among these members: the newest of our keys that is a member's; the first one while none is.
fn signer_in(roster: &Roster, signers: &[Arc<Signer>]) -> Arc<Signer> {
    let known = signers.iter().rev().find(|signer| roster.seat_of(&signer.public()).is_some());
    Arc::clone(known.unwrap_or(&signers[0]))
}

/// Take what a replica has to say, with its indices turned into numbers.
fn drain(replica: &mut Replica, outputs: &mut Vec<Output>) {
    for mut output in replica.outputs.drain(..) {
        if let Output::Send { peer, .. } | Output::SendStored { peer, .. } | Output::Rejected { peer, .. } = &mut output
        {
            *peer = replica.peers.number_of(*peer);
        }
        outputs.push(output);
    }
}

//! When to make the next event, and out of what (P1 to P7).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::bits::{Creators, RowSet, creator};
use crate::committee::Committee;
use crate::config::{Local, MAX_ITEM_BYTES, MAX_ITEMS, MAX_TRANSACTIONS, Network};
use crate::crypto::{DOMAIN_EVENT, Signer, blake3};
use crate::dag::{Dag, NodeRef};
use crate::decide::Decider;
use crate::items::is_counted;
use crate::journal::{EPOCH_ROUNDS, Position, height};
use crate::late::Late;
use crate::order::Orderer;
use crate::timer::{Advance, Timer};
use crate::values::{Delivered, Event, Item, ItemType, Parent};
use crate::verify::{check_evidence, exposed, with_others};
use crate::wire;

/// What an event's salt is hashed with.
pub const DOMAIN_SALT: &[u8] = b"syncpoint/salt/v1";
/// By which decisions may lag before every primary is waited for.
pub const PATIENCE_ROUNDS: i64 = 8;
/// Items that wait for our next events; of more the oldest vote is left out.
pub const MAX_SAID: usize = 4_096;
/// Items made, and heeded, in one event; the rest goes into the next.
pub const MAX_EVIDENCE: usize = 4;
/// Headers can be blown up by items of their own; a longer proof is not worth its way. V8 protects without it.
pub const MAX_EVIDENCE_BYTES: usize = MAX_ITEM_BYTES / MAX_EVIDENCE;

/// A transaction that waits for an event.
#[derive(Clone, Debug)]
pub struct Queued {
    transaction: Bytes,
    /// None: submitted before a restart.
    number: Option<u64>,
    /// Where it stood before, in an own event that will not be delivered (O11).
    source: Option<Position>,
}

/// An own event that is to be made durable, and what it takes over from own events of before (O11).
#[derive(Clone, Debug)]
pub struct Made {
    /// The event.
    pub event: Arc<Event>,
    /// Where what it takes over stood before.
    pub taken_over: Vec<Position>,
}

/// An own event that is not delivered yet, and whose its transactions are.
#[derive(Debug)]
pub struct Placed {
    event: Arc<Event>,
    numbers: Vec<Option<u64>>,
    /// Places of transactions that a later own event carries.
    taken_over: BTreeSet<u32>,
}

/// What the proposer wants: to make an event now, or to be asked again.
#[derive(Debug)]
pub enum Poll {
    /// Our next event.
    Made(Made),
    /// Ask again at this time, in ns; None: when something changes.
    Later(Option<u64>),
}

/// What the proposer looks at to decide.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The graph.
    pub dag: &'a Dag,
    /// What is decided in it.
    pub decider: &'a Decider,
    /// What is ordered of that.
    pub orderer: &'a Orderer,
}

/// Our own events: the queue of transactions, the pace, the parents.
pub struct Proposer {
    network: Network,
    committee: Committee,
    local: Local,
    own: usize,
    /// Our newest event, once it is in the DAG.
    pub tip: Option<Arc<Event>>,
    /// Our next event builds on this round at least (R2).
    pub resume_round: u64,
    /// Or on one not below this, where nobody can build on that (0015).
    pub unknown_round: u64,
    /// ns, when we made it.
    pub created_at: u64,
    /// Events made since the start.
    pub made: u64,
    /// Transactions put into a new event (O11).
    pub resubmitted: u64,
    /// As encoded.
    pub queued_bytes: usize,
    /// Equivocators whose evidence is in our history (P7).
    pub(crate) exposed: Creators,
    /// Nothing is delivered any more: what is queued stays, what we say still goes out (S4).
    pub(crate) is_closing: bool,
    /// The others' votes on that are missing: rounds go on for their sake (S4).
    pub(crate) is_certifying: bool,
    /// There is evidence against ourselves: our key signs elsewhere as well (R5).
    pub(crate) is_copied: bool,
    /// What the others may refuse by the time ours is there.
    pub(crate) late: Late,
    signer: Arc<Signer>,
    entropy: [u8; 32],
    /// Its number.
    epoch: u32,
    queue: VecDeque<Queued>,
    next_number: u64,
    /// Our undelivered events by height.
    placed: BTreeMap<u64, Placed>,
    /// Round -> accepted, not in our history.
    uncovered: BTreeMap<u64, RowSet>,
    /// Creator -> proof that is not in our history yet, oldest first.
    evidence: Vec<(usize, Item)>,
    /// What we say of the network, for our next events (S1, C1).
    items: VecDeque<Item>,
    /// Of these, from the first on: up to the last one that is reason enough for an event.
    urgent: usize,
    /// What we make is so young that the others refer to it at once, if they can take it.
    pub(crate) keeps_up: bool,
    /// Of our newest event that another one refers to, or need not refer to yet.
    heard_round: u64,
}

impl Proposer {
    /// A proposer with an empty queue.
    #[must_use]
    pub fn new(
        network: Network,
        committee: Committee,
        local: Local,
        own: usize,
        signer: Arc<Signer>,
        entropy: [u8; 32],
        epoch: u32,
    ) -> Self {
        let late = Late::new(&committee, own, network.gc_depth);
        Self {
            network,
            committee,
            local,
            own,
            tip: None,
            resume_round: 0,
            unknown_round: 0,
            created_at: 0,
            made: 0,
            resubmitted: 0,
            queued_bytes: 0,
            is_closing: false,
            is_certifying: false,
            exposed: 0,
            keeps_up: false,
            heard_round: 0,
            is_copied: false,
            late,
            signer,
            entropy,
            epoch,
            queue: VecDeque::new(),
            next_number: 0,
            placed: BTreeMap::new(),
            uncovered: BTreeMap::new(),
            evidence: Vec::new(),
            items: VecDeque::new(),
            urgent: 0,
        }
    }

    /// Transactions that wait for an event.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The round of our newest event, 0 before the first.
    #[must_use]
    pub fn own_round(&self) -> u64 {
        self.tip.as_ref().map_or(0, |tip| tip.round)
    }

    /// The round that our next event builds on: our newest one's (P1), or where a recovery lets us go on (R3).
    #[must_use]
    pub fn base_round(&self) -> u64 {
        self.own_round().max(self.resume_round)
    }

    /// Queue transactions of our application; they get the next numbers.
    pub fn submit(&mut self, transactions: Vec<Bytes>) {
        for transaction in transactions {
            let size = transaction.len() + 4;
            assert!(size <= self.network.max_payload_bytes, "the engine refuses larger transactions");
            self.queue.push_back(Queued { transaction, number: Some(self.next_number), source: None });
            self.next_number += 1;
            self.queued_bytes += size;
        }
    }

    /// Put an item into our next event; what is not urgent waits for an event that is made anyway (P2).
    ///
    /// While we cannot sign these pile up. Of more than [`MAX_SAID`] the oldest vote is left out: by then it is one on
    /// what the others have decided, or forgotten.
    pub fn say(&mut self, item: Item, is_urgent: bool) {
        if self.items.len() == MAX_SAID {
            let oldest = self.items.iter().position(|each| each.r#type != ItemType::Propose as u16).unwrap_or(0);
            self.items.remove(oldest);
            self.urgent -= usize::from(oldest < self.urgent);
        }
        self.items.push_back(item);
        if is_urgent {
            self.urgent = self.items.len();
        }
    }

    /// Take up an own event of the journal; what it carries is delivered with it, or queued again (O11).
    pub fn restore(&mut self, event: &Arc<Event>, epoch: u32, taken_over: &[Position]) {
        let numbers = vec![None; event.transaction_count()];
        let placed = Placed { event: Arc::clone(event), numbers, taken_over: BTreeSet::new() };
        self.placed.insert(height(epoch, event.round), placed);
        for position in taken_over {
            if let Some(placed) = self.placed.get_mut(&position.height) {
                placed.taken_over.insert(position.place);
            }
        }
    }

    /// Forget an own event of the journal that was delivered before the start.
    pub fn was_delivered(&mut self, height: u64) {
        self.placed.remove(&height);
    }

    /// Take over what was not delivered in the epoch before: it goes into events of this one (S4).
    pub fn follow(&mut self, before: &mut Self) {
        before.expire(EPOCH_ROUNDS - 1);
        self.queue = std::mem::take(&mut before.queue);
        (self.queued_bytes, self.next_number) = (before.queued_bytes, before.next_number);
        (self.made, self.resubmitted) = (before.made, before.resubmitted);
        for item in before.items.iter().filter(|item| is_counted(item)) {
            self.say(item.clone(), true); // what was said of its checkpoints is of no use here
        }
    }

    /// Note an event that entered the DAG; an own one becomes the tip.
    pub fn accept(&mut self, at: NodeRef, dag: &Dag) {
        let node = dag.node(at);
        if self.own >= self.committee.n {
            // an observer makes no event behind which it could lie (Q4)
            self.heed(&node.event);
            return;
        }
        self.late.accept(at, dag);
        if node.creator as usize == self.own && at.round > self.own_round() {
            self.tip = Some(Arc::clone(&node.event));
            if !self.keeps_up || self.refers_to_us(&node.event, dag).is_none() {
                self.heard_round = at.round;
            }
            self.cover(at, dag);
        } else {
            if at.round > self.heard_round + 1 {
                let heard = self.refers_to_us(&node.event, dag).unwrap_or(0);
                self.heard_round = self.heard_round.max(heard); // it may refer to one that is old
            }
            self.uncovered.entry(at.round).or_default().insert(at.bit());
        }
    }

    /// The round of our event that is among the parents, if one is.
    fn refers_to_us(&self, event: &Event, dag: &Dag) -> Option<u64> {
        let ours = event.parents().find(|parent| parent.creator as usize == self.own && parent.round > dag.floor);
        ours.map(|parent| parent.round)
    }

    /// Whether nobody has referred to us for as many rounds as can be referred to, though we keep up (V3).
    ///
    /// The others cannot have our events: they came too late, as those of a peer that was away for about as long as
    /// they keep rounds. What builds on them is of no use to anybody, so we build on the others alone
    /// (docs/decisions/0015-far-behind.md).
    fn is_unheard(&self) -> bool {
        self.committee.n > 1 && self.own_round() > self.heard_round + self.network.gc_depth
    }

    /// Keep the proof that a creator signed two events for one slot, for our next event (E5, F2).
    pub fn accuse(&mut self, creator: usize, first: &Event, second: &Event) {
        if self.is_accused(creator) {
            return;
        }
        let proof = wire::encode_evidence(first, second);
        if proof.len() <= MAX_EVIDENCE_BYTES {
            self.evidence.push((creator, Item { r#type: ItemType::Evidence as u16, body: proof }));
        }
    }

    /// Whether it is one variant more and proves nothing new, so that its signature is not worth checking (F2).
    #[must_use]
    pub fn is_spare(&self, event: &Event, dag: &Dag) -> bool {
        let by = event.creator as usize;
        by < self.committee.n && by != self.own && self.is_accused(by) && !dag.row(event.round).variants(by).is_empty()
    }

    /// Our next event if it is time for it, else when to ask again (None: when something changes).
    pub fn poll(&mut self, now: u64, view: View<'_>, timer: &mut Timer) -> Poll {
        let mut round = self.base_round();
        let left_out = self.exposed | self.latecomers(round, view.dag);
        let parents = match self.strong(round, left_out, view.dag) {
            Some(parents) => parents,
            None if (view.dag.row(round).creators.count_ones() as usize) < self.committee.q => {
                return Poll::Later(None);
            }
            None => {
                let timeout_at = timer.timeout_at(round);
                if now < timeout_at {
                    return Poll::Later(Some(timeout_at));
                }
                // A peer that was away may have left this round out, or come too late, and a liar been exposed since:
                // then there never are q events by others, and one of the liar does no harm (V8; 0015-far-behind.md).
                let Some((lower, parents)) = self.at_last(round, view.dag) else { return Poll::Later(None) };
                round = lower;
                parents
            }
        };
        let above = view.dag.row(round + 1).creators.count_ones() as usize;
        let waits = !self.is_closing && (!self.queue.is_empty() || view.orderer.has_undelivered());
        if !(waits || self.is_certifying || !self.evidence.is_empty() || self.urgent > 0 || above > 0) {
            let beat_at = self.created_at + self.local.heartbeat_ns;
            if now < beat_at {
                return Poll::Later(Some(beat_at));
            }
        }
        if above >= self.committee.q {
            // P3 (c): we are behind, the minimum interval does not apply
            return Poll::Made(self.make(round, &parents, Advance::Overtaken, now, view.dag, timer));
        }
        let rested_at = self.created_at + self.local.min_event_interval_ns;
        if now < rested_at {
            return Poll::Later(Some(rested_at)); // P2
        }
        if round == 0 {
            return Poll::Made(self.make(round, &parents, Advance::Settled, now, view.dag, timer));
        }
        let timeout_at = timer.timeout_at(round);
        if !self.settled(round, view, timer) {
            if now >= timeout_at {
                // P3 (b)
                return Poll::Made(self.make(round, &parents, Advance::Timeout, now, view.dag, timer));
            }
            timer.unsettled(round);
            return Poll::Later(Some(timeout_at));
        }
        let soft_until = timer.soft_until(round).min(timeout_at);
        if now < soft_until {
            return Poll::Later(Some(soft_until)); // P4
        }
        Poll::Made(self.make(round, &parents, Advance::Settled, now, view.dag, timer)) // P3 (a)
    }

    /// The numbers of the transactions in an event of ours that was delivered; None for one of before a restart.
    pub fn delivered(&mut self, done: &Delivered) -> Vec<Option<u64>> {
        let at = height(self.epoch, done.event.round);
        if self.placed.get(&at).is_none_or(|placed| placed.event.digest != done.event.digest) {
            return Vec::new(); // nothing in it, or not made by us (R5)
        }
        let placed = self.placed.remove(&at).expect("it is there");
        placed.numbers
    }

    /// Queue again what lies in own events that fell below the floor, or an epoch, undelivered (O11).
    pub fn expire(&mut self, floor: u64) {
        let floor = height(self.epoch, floor);
        let mut again = Vec::new();
        while let Some(entry) = self.placed.first_entry().filter(|entry| *entry.key() <= floor) {
            let (height, placed) = entry.remove_entry();
            for item in placed.event.items().filter(is_counted) {
                self.say(item, true);
            }
            for (place, (transaction, number)) in placed.event.transactions().zip(placed.numbers).enumerate() {
                let place = place as u32;
                if !placed.taken_over.contains(&place) {
                    let transaction = placed.event.share(transaction);
                    again.push(Queued { transaction, number, source: Some(Position { height, place }) });
                }
            }
        }
        self.queued_bytes += again.iter().map(|entry| entry.transaction.len() + 4).sum::<usize>();
        self.resubmitted += again.len() as u64;
        for entry in again.into_iter().rev() {
            self.queue.push_front(entry);
        }
    }

    /// Forget events that left the DAG, those of the rounds up to `floor`.
    pub fn prune(&mut self, floor: u64, dag: &Dag) {
        self.uncovered = self.uncovered.split_off(&(floor + 1));
        self.late.prune(floor, dag);
    }

    /// Whether there is proof that it forked, in our history or for our next event.
    fn is_accused(&self, creator: usize) -> bool {
        self.exposed >> creator & 1 == 1 || self.evidence.iter().any(|(other, _)| *other == creator)
    }

    // -- parents ----------------------------------------------------------------------------------

    /// One event of `round` per creator as strong parents, ours among them; None while there are too few (P6).
    fn strong(&self, round: u64, left_out: Creators, dag: &Dag) -> Option<Vec<NodeRef>> {
        if round == 0 {
            return Some(Vec::new());
        }
        let row = dag.row(round);
        let q = self.committee.q;
        if (row.creators.count_ones() as usize) < q {
            return None;
        }
        let left_out = left_out | if self.is_unheard() { creator(self.own) } else { 0 };
        let mut chosen: Vec<NodeRef> = (0..self.committee.n)
            .filter(|&by| left_out >> by & 1 == 0)
            // Of several variants the one that came first: most others will have voted for it too.
            .filter_map(|by| row.variants(by).iter().min())
            .map(|&index| NodeRef { round, index })
            .collect();
        loop {
            let liars = exposed(&chosen, dag); // V8
            let before = chosen.len();
            chosen.retain(|&at| liars >> dag.node(at).creator & 1 == 0);
            if liars == 0 || chosen.len() == before {
                break;
            }
        }
        if !chosen.is_empty() && chosen.len() < q {
            chosen = with_others(&chosen, left_out, dag);
        }
        (chosen.len() >= q).then_some(chosen)
    }

    /// Set of creators: whose events of a round build on some that came so late that others may refuse them.
    ///
    /// By the time ours is there, that is. Nobody could follow us then (docs/decisions/0015-far-behind.md).
    fn latecomers(&mut self, round: u64, dag: &Dag) -> Creators {
        self.late.depths(round, dag).into_keys().fold(0, |set, by| set | creator(by))
    }

    /// What to build on where there never are q parents beyond doubt: the round, and strong parents of it.
    ///
    /// Where we left rounds out, and nobody can build on the last of them, it is the highest one below: an event of
    /// ours may be what the others lack there, and we have signed none (0015).
    fn at_last(&mut self, base: u64, dag: &Dag) -> Option<(u64, Vec<NodeRef>)> {
        let lowest = self.own_round().max(base.min(self.unknown_round));
        let least = lowest.max(base.saturating_sub(self.network.gc_depth / 2));
        (least..=base).rev().find_map(|round| Some((round, self.with_late(round, dag)?)))
    }

    /// Strong parents, of those that are late as few as do, the least late ones.
    fn with_late(&mut self, round: u64, dag: &Dag) -> Option<Vec<NodeRef>> {
        let depths = self.late.depths(round, dag);
        let mut left_out = depths.keys().fold(0, |set, &by| set | creator(by));
        let mut parents = self.strong(round, left_out, dag);
        let mut late: Vec<(usize, u64)> = depths.into_iter().collect();
        late.sort_by_key(|&(by, depth)| (Reverse(depth), by));
        for (by, _) in late {
            if parents.is_some() {
                break;
            }
            left_out ^= creator(by);
            parents = self.strong(round, left_out, dag);
        }
        parents
    }

    /// The newest accepted events that only a weak parent brings into our history (P6, V3).
    fn weak(&mut self, round: u64, strong: &[NodeRef], dag: &Dag) -> Vec<NodeRef> {
        let mut taken = strong.iter().fold(self.exposed, |set, &at| set | creator(dag.node(at).creator as usize));
        let lowest = (round + 1).saturating_sub(self.network.gc_depth);
        self.uncovered = self.uncovered.split_off(&lowest); // too old for any event of ours from now on (V3)
        let mut best = Vec::new();
        let is_free = taken & creator(self.own) == 0 && !self.is_unheard();
        let tip = self.tip.as_ref().filter(|tip| lowest <= tip.round && tip.round < round);
        if let Some(at) = tip.filter(|_| is_free).and_then(|tip| dag.get(&tip.digest)) {
            best.push(at); // V4, after a recovery (R3)
            taken |= creator(self.own);
        }
        for (&below, row) in self.uncovered.range(..round).rev() {
            for index in row.iter() {
                let at = NodeRef { round: below, index: index as u32 };
                let by = creator(dag.node(at).creator as usize);
                if taken & by == 0 && self.late.round_of(at, dag).is_none() {
                    taken |= by;
                    best.push(at);
                }
            }
        }
        best
    }

    /// Our history grew by what is new behind the tip; evidence in it counts from now on (P7).
    fn cover(&mut self, tip: NodeRef, dag: &Dag) {
        self.heed(&Arc::clone(&dag.node(tip).event));
        let mut reached: BTreeMap<u64, RowSet> = BTreeMap::new();
        add_parents(&mut reached, tip, dag);
        while let Some((round, mut row)) = reached.pop_last() {
            let Some(uncovered) = self.uncovered.get_mut(&round) else { continue };
            row.intersect_with(uncovered);
            uncovered.subtract(&row);
            if uncovered.is_empty() {
                self.uncovered.remove(&round);
            }
            for index in row.iter() {
                let at = NodeRef { round, index: index as u32 };
                self.heed(&dag.node(at).event);
                add_parents(&mut reached, at, dag);
            }
        }
    }

    fn heed(&mut self, event: &Event) {
        if event.item_count == 0 {
            return;
        }
        let proofs = event.items().filter(|item| item.r#type == ItemType::Evidence as u16);
        for proof in proofs.take(MAX_EVIDENCE) {
            let Some(liar) = check_evidence(&proof.body, &self.committee) else { continue };
            if liar == self.own {
                self.is_copied = true;
            } else {
                self.exposed |= creator(liar);
                self.evidence.retain(|(other, _)| *other != liar);
            }
        }
    }

    // -- making -----------------------------------------------------------------------------------

    /// Whether the primary's event is here and the round below has its primary settled (P3).
    ///
    /// While decisions keep up, a primary that is not linked or mostly late is not waited for: a dead peer
    /// would cost every n-th round its timeout (P4). Once they lag, every primary is, which is what makes
    /// progress certain (docs/decisions/0003-dead-primaries.md).
    fn settled(&self, round: u64, view: View<'_>, timer: &Timer) -> bool {
        let primary = self.committee.primary(round);
        let here = view.dag.row(round).creators >> primary & 1 == 1;
        let lag = round as i64 - view.decider.closed as i64;
        if !here && (lag > PATIENCE_ROUNDS || timer.expects(primary)) {
            return false;
        }
        view.decider.settled(round - 1, view.dag)
    }

    /// Build and sign the event after `round`; it enters the DAG when it is durable (P7, J1).
    fn make(&mut self, round: u64, strong: &[NodeRef], by: Advance, now: u64, dag: &Dag, timer: &mut Timer) -> Made {
        timer.advanced(round, by, now);
        let mut parents: Vec<Parent> = self
            .weak(round, strong, dag)
            .iter()
            .chain(strong)
            .map(|&at| {
                let node = dag.node(at);
                Parent { creator: node.creator, round: at.round, digest: node.digest }
            })
            .collect();
        parents.sort_unstable_by_key(|parent| parent.creator);
        let items = self.take_items();
        let taken = self.take();
        let transactions: Vec<Bytes> = taken.iter().map(|entry| entry.transaction.clone()).collect();
        let created_at = self.tip.as_ref().map_or(now, |tip| now.max(tip.created_at + 1)); // V5
        let salt = blake3(&[DOMAIN_SALT, &self.entropy, &(round + 1).to_le_bytes()].concat());
        let header = wire::encode_header(
            &self.committee.epoch_id,
            self.own as u16,
            round + 1,
            created_at,
            u64::from_le_bytes(salt[..8].try_into().expect("8 bytes")),
            &parents,
            &items,
            &transactions,
        );
        let digest = wire::event_digest(&header);
        let signature = self.signer.sign(&[DOMAIN_EVENT, &digest[..]].concat());
        let event = Arc::new(Event::new(&header, digest, &signature, &transactions));
        if !taken.is_empty() || items.iter().any(is_counted) {
            let numbers = taken.iter().map(|entry| entry.number).collect();
            let placed = Placed { event: Arc::clone(&event), numbers, taken_over: BTreeSet::new() };
            self.placed.insert(height(self.epoch, event.round), placed);
        }
        self.created_at = now;
        self.made += 1;
        Made { event, taken_over: taken.into_iter().filter_map(|entry| entry.source).collect() }
    }

    /// As many queued transactions as one event takes, in order.
    fn take(&mut self) -> Vec<Queued> {
        let mut taken = Vec::new();
        let mut room = if self.is_closing { 0 } else { self.network.max_payload_bytes };
        while taken.len() < MAX_TRANSACTIONS {
            let Some(size) = self.queue.front().map(|entry| entry.transaction.len() + 4) else { break };
            let Some(left) = room.checked_sub(size) else { break };
            room = left;
            self.queued_bytes -= size;
            taken.extend(self.queue.pop_front());
        }
        taken
    }

    /// Evidence, and as much of what we say of the network as one event takes, in order.
    fn take_items(&mut self) -> Vec<Item> {
        let mut taken: Vec<Item> = self.evidence.iter().take(MAX_EVIDENCE).map(|(_, item)| item.clone()).collect();
        let mut room = MAX_ITEM_BYTES - taken.iter().map(|item| item.body.len()).sum::<usize>();
        while taken.len() < MAX_ITEMS {
            let Some(left) = self.items.front().and_then(|item| room.checked_sub(item.body.len())) else { break };
            room = left;
            taken.extend(self.items.pop_front());
            self.urgent = self.urgent.saturating_sub(1);
        }
        taken
    }
}

fn add_parents(reached: &mut BTreeMap<u64, RowSet>, at: NodeRef, dag: &Dag) {
    let node = dag.node(at);
    if !node.strong.is_empty() {
        reached.entry(at.round - 1).or_default().union_with(&node.strong);
    }
    for parent in &node.weak {
        reached.entry(parent.round).or_default().insert(parent.bit());
    }
}

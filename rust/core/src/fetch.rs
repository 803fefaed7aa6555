//! Events that wait for their parents, and how the missing ones are obtained (F1 to F3, V7).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::ops::SubAssign;
use std::sync::Arc;

use crate::committee::Committee;
use crate::dag::Dag;
use crate::error::Reject;
use crate::values::{Digest, Event};
use crate::wire::MAX_REQUEST;

const MS: u64 = 1_000_000;
/// Before the first request: the parent is mostly on its way from its creator.
pub const GRACE_NS: u64 = 3 * MS;
/// Before a request is repeated, the first time.
pub const FIRST_RETRY_NS: u64 = 20 * MS;
/// Before a request is repeated, at most.
pub const MAX_RETRY_NS: u64 = 2_000 * MS;
/// Requests are due at multiples of it: so few wake-ups, however much is missing.
pub const GRAIN_NS: u64 = MS;
/// An unanswered pull no longer stands in the way of another.
pub const PULL_TIMEOUT_NS: u64 = 1_000 * MS;
/// Before another peer is pulled from as well ...
pub const PULL_PATIENCE_NS: u64 = 100 * MS;
/// ... and so much more for n events of the first one: few networks are as quick as that.
pub const PATIENCE_PER_ROUND_NS: u64 = 4 * MS;
/// After a pull that brought nothing new, the first time.
pub const FIRST_PULL_PAUSE_NS: u64 = 50 * MS;
/// After a pull that brought nothing new, at most.
pub const MAX_PULL_PAUSE_NS: u64 = 5_000 * MS;
/// Digests of invalid events that are remembered, oldest forgotten first.
pub const MAX_REFUSED: usize = 4096;
/// Second variants of one slot that one peer may bring of an epoch that it is through with.
pub const MAX_ADMITTED: usize = 16;
/// Parents that one sender's waiting events miss; beyond, more of them are not kept.
pub const MAX_MISSING: usize = 4096;

/// A checked event some of whose parents are missing.
#[derive(Debug)]
struct Waiting {
    event: Arc<Event>,
    sender: usize,
    missing: BTreeSet<Digest>,
}

/// A missing event: who waits for it, whom to ask next, and when.
#[derive(Debug)]
struct Want {
    children: Vec<Digest>,
    /// Peers that sent something that refers to it, so they have it.
    hints: Vec<usize>,
    asked: usize,
    due: u64,
    retry: u64,
}

/// What a peer is asked for.
pub type Request = (usize, Vec<Digest>);

/// The pool of waiting events and the flights that bring what they miss.
///
/// Each sender has a share of the pool: an honest one relays only what is complete at its side, so what is
/// made up fills the share of a liar, whoever it says to be from.
///
/// Observers are asked where members do not help (Q4): they may be behind, and f does not bound how many of them lie.
#[derive(Debug)]
pub struct Fetcher {
    own: usize,
    n: usize,
    limit: u64,
    /// Peers, oldest link first.
    pub linked: Vec<usize>,
    waiting: BTreeMap<Digest, Waiting>,
    wants: BTreeMap<Digest, Want>,
    /// When to ask for a want.
    due: BinaryHeap<Reverse<(u64, Digest)>>,
    /// Per sender, in the pool.
    bytes: BTreeMap<usize, u64>,
    /// Per sender, parents that its waiting events miss.
    missing: BTreeMap<usize, usize>,
    /// (round, creator, sender) -> waiting events.
    slots: BTreeMap<(u64, u16, usize), usize>,
    refused: Refused,
    /// Second variants that are taken though nothing refers to them.
    admitted: BTreeSet<Digest>,
    /// The same by round, creator and sender.
    admissions: BTreeMap<(u64, u16, usize), Vec<Digest>>,
    /// Peer -> until when its pull is under way, and before when nobody else is pulled from as well.
    pulls: BTreeMap<usize, (u64, u64)>,
    /// For an event.
    patience: u64,
    /// From members, so that f liars who do not answer hold up nothing.
    max_pulls: usize,
    /// Peer -> (not before, next pause).
    pause: BTreeMap<usize, (u64, u64)>,
    /// Peers ahead of us whose last answer to a pull had nothing that we could take.
    barren: BTreeSet<usize>,
    /// Accepted events ...
    progress: u64,
    /// ... when a peer was last pulled from.
    progress_at_pull: BTreeMap<usize, u64>,
}

impl Fetcher {
    /// An empty pool.
    #[must_use]
    pub fn new(committee: &Committee, own: usize, pool_bytes_per_sender: u64) -> Self {
        Self {
            own,
            n: committee.n,
            limit: pool_bytes_per_sender,
            linked: Vec::new(),
            waiting: BTreeMap::new(),
            wants: BTreeMap::new(),
            due: BinaryHeap::new(),
            bytes: BTreeMap::new(),
            missing: BTreeMap::new(),
            slots: BTreeMap::new(),
            refused: Refused::default(),
            admitted: BTreeSet::new(),
            admissions: BTreeMap::new(),
            pulls: BTreeMap::new(),
            patience: PATIENCE_PER_ROUND_NS / committee.n as u64,
            max_pulls: committee.f + 1,
            pause: BTreeMap::new(),
            barren: BTreeSet::new(),
            progress: 0,
            progress_at_pull: BTreeMap::new(),
        }
    }

    /// Whether an event waits.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.waiting.contains_key(digest)
    }

    /// Events that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of events that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// Events that are missing.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.wants.len()
    }

    /// Whether no linked member has what we need next (R4).
    #[must_use]
    pub fn is_stranded(&self) -> bool {
        let mut members = self.linked.iter().filter(|&&peer| peer < self.n).peekable();
        members.peek().is_some() && members.all(|peer| self.barren.contains(peer))
    }

    /// Whether a waiting event refers to it, or it was admitted.
    #[must_use]
    pub fn wants(&self, digest: &Digest) -> bool {
        self.wants.contains_key(digest) || self.admitted.contains(digest)
    }

    /// Let a second variant of a slot in, if the sender has not brought too many of it (F2; 0017-epochs.md).
    pub fn admit(&mut self, event: &Event, sender: usize) {
        let brought = self.admissions.entry((event.round, event.creator, sender)).or_default();
        if brought.len() < MAX_ADMITTED && self.admitted.insert(event.digest) {
            brought.push(event.digest);
        }
    }

    /// Whether an event of this slot, from this sender, waits.
    #[must_use]
    pub fn waits_in(&self, round: u64, creator: u16, sender: usize) -> bool {
        self.slots.contains_key(&(round, creator, sender))
    }

    // -- the pool ---------------------------------------------------------------------------------

    /// Keep an event until its missing parents are here; a reject when there is no room (V7).
    ///
    /// # Errors
    /// [`Reject::PoolFull`].
    pub fn hold(
        &mut self,
        event: Arc<Event>,
        sender: usize,
        missing: BTreeSet<Digest>,
        now: u64,
    ) -> Result<(), Reject> {
        if sender != self.own && !self.make_room(&event, sender, missing.len()) {
            return Err(Reject::PoolFull);
        }
        *self.bytes.entry(sender).or_default() += event.size() as u64;
        *self.missing.entry(sender).or_default() += missing.len();
        *self.slots.entry((event.round, event.creator, sender)).or_default() += 1;
        for &digest in &missing {
            let want = self.wants.entry(digest).or_insert_with(|| {
                let due = (now + GRACE_NS).next_multiple_of(GRAIN_NS);
                self.due.push(Reverse((due, digest)));
                Want { children: Vec::new(), hints: Vec::new(), asked: 0, due, retry: FIRST_RETRY_NS }
            });
            want.children.push(event.digest);
            if sender != self.own && !want.hints.contains(&sender) {
                want.hints.push(sender);
            }
        }
        self.waiting.insert(event.digest, Waiting { event, sender, missing });
        Ok(())
    }

    /// An event of a sender entered the DAG: the waiting events (and their senders) that miss nothing any more.
    pub fn accepted(&mut self, digest: &Digest, sender: usize) -> Vec<(Arc<Event>, usize)> {
        self.progress += 1;
        self.barren.clear();
        if let Some((until, before)) = self.pulls.get_mut(&sender) {
            *before = (*before + self.patience).min(*until);
        }
        let mut ready = Vec::new();
        let Some(want) = self.wants.remove(digest) else { return ready };
        for child in want.children {
            let Some(waiting) = self.waiting.get_mut(&child) else { continue };
            waiting.missing.remove(digest);
            less(&mut self.missing, waiting.sender, 1);
            if waiting.missing.is_empty() {
                let waiting = self.remove(&child);
                ready.push((waiting.event, waiting.sender));
            }
        }
        ready
    }

    /// Remember that an event is invalid, and drop what builds on it: who sent that, once for each event.
    pub fn refuse(&mut self, digest: Digest) -> Vec<usize> {
        let mut senders = Vec::new();
        let mut todo = vec![digest];
        while let Some(digest) = todo.pop() {
            self.refused.insert(digest);
            let Some(want) = self.wants.remove(&digest) else { continue };
            for child in want.children {
                if self.waiting.contains_key(&child) {
                    senders.push(self.drop_waiting(&child).1);
                    todo.push(child);
                }
            }
        }
        senders
    }

    /// Whether an event is known to be invalid.
    #[must_use]
    pub fn is_refused(&self, digest: &Digest) -> bool {
        self.refused.digests.contains(digest)
    }

    /// Drop what waits in rounds that are too old to matter.
    pub fn forget_below(&mut self, floor: u64) {
        let old = self.waiting.values().filter(|waiting| waiting.event.round <= floor);
        let old: BTreeSet<Digest> = old.map(|waiting| waiting.event.digest).collect();
        for digest in old {
            self.drop_waiting(&digest);
        }
        let kept = self.admissions.split_off(&(floor + 1, 0, 0));
        for digest in std::mem::replace(&mut self.admissions, kept).values().flatten() {
            self.admitted.remove(digest);
        }
    }

    /// Room in the sender's share, farthest rounds evicted first (V7).
    fn make_room(&mut self, event: &Event, sender: usize, missing: usize) -> bool {
        // One event always fits, however large a network lets them be.
        let size = event.size() as u64;
        let fits =
            |bytes: u64, parents: usize| (bytes == 0 || bytes + size <= self.limit) && parents + missing <= MAX_MISSING;
        let mut bytes = self.bytes.get(&sender).copied().unwrap_or(0);
        let mut parents = self.missing.get(&sender).copied().unwrap_or(0);
        if fits(bytes, parents) {
            return true;
        }
        let mut farther: Vec<&Waiting> = self
            .waiting
            .values()
            .filter(|waiting| waiting.sender == sender && waiting.event.round > event.round)
            .collect();
        farther.sort_unstable_by_key(|waiting| (waiting.event.round, waiting.event.digest));
        let mut evicted = Vec::new();
        while !fits(bytes, parents) {
            let Some(last) = farther.pop() else { break };
            bytes -= last.event.size() as u64;
            parents -= last.missing.len();
            evicted.push(last.event.digest);
        }
        if !fits(bytes, parents) {
            return false;
        }
        for digest in evicted {
            self.drop_waiting(&digest);
        }
        true
    }

    fn remove(&mut self, digest: &Digest) -> Waiting {
        let waiting = self.waiting.remove(digest).expect("it waits");
        let event = &waiting.event;
        less(&mut self.bytes, waiting.sender, event.size() as u64);
        less(&mut self.missing, waiting.sender, waiting.missing.len());
        let slot = (event.round, event.creator, waiting.sender);
        let count = self.slots.get_mut(&slot).expect("it was counted");
        *count -= 1;
        if *count == 0 {
            self.slots.remove(&slot);
        }
        waiting
    }

    /// Remove an event that will not be accepted from here, and what was wanted for its sake only.
    fn drop_waiting(&mut self, digest: &Digest) -> (Arc<Event>, usize) {
        let waiting = self.remove(digest);
        for parent in &waiting.missing {
            let Some(want) = self.wants.get_mut(parent) else { continue };
            want.children.retain(|child| child != digest);
            if want.children.is_empty() {
                self.wants.remove(parent);
            }
        }
        (waiting.event, waiting.sender)
    }

    // -- asking for single events -----------------------------------------------------------------

    /// A link is up: it can be asked.
    pub fn connected(&mut self, peer: usize) {
        if !self.linked.contains(&peer) {
            self.linked.push(peer);
        }
    }

    /// A link is gone, and with it what was asked there.
    pub fn disconnected(&mut self, peer: usize) {
        self.linked.retain(|&other| other != peer);
        self.pause.remove(&peer);
        self.progress_at_pull.remove(&peer);
        self.pulls.remove(&peer);
        self.barren.remove(&peer);
    }

    /// What to ask whom for now, and when to look again (F1).
    pub fn poll(&mut self, now: u64) -> (Vec<Request>, Option<u64>) {
        let mut asks: Vec<Request> = Vec::new();
        while let Some(&Reverse((due, digest))) = self.due.peek() {
            let Some(want) = self.wants.get_mut(&digest).filter(|want| want.due == due) else {
                self.due.pop(); // satisfied, dropped, or wanted anew since
                continue;
            };
            if due > now {
                break;
            }
            let peer = if self.waiting.contains_key(&digest) { None } else { whom(want, &self.linked, self.n) };
            if let Some(peer) = peer {
                match asks.iter_mut().find(|(other, _)| *other == peer) {
                    Some((_, digests)) => digests.push(digest),
                    None => asks.push((peer, vec![digest])),
                }
                want.asked += 1;
            }
            want.due = (now + want.retry).next_multiple_of(GRAIN_NS);
            if want.asked.is_multiple_of(turn_of(&self.linked, self.n).max(1)) {
                want.retry = (2 * want.retry).min(MAX_RETRY_NS); // all were asked
            }
            let due = want.due;
            self.due.pop();
            self.due.push(Reverse((due, digest)));
        }
        let requests = asks
            .iter()
            .flat_map(|(peer, digests)| digests.chunks(MAX_REQUEST).map(|some| (*peer, some.to_vec())))
            .collect();
        (requests, self.due.peek().map(|Reverse((due, _))| *due))
    }

    // -- pulling whole rounds ---------------------------------------------------------------------

    /// Above which frontier to pull from a peer that is ahead; None while enough pulls are under way (F3).
    ///
    /// Where the last pull was in vain it is below what is missing, and nowhere above the round `most`.
    pub fn pull(&mut self, peer: usize, frontier: &[u64], most: u64, now: u64) -> Option<Vec<u64>> {
        self.pulls.retain(|_, (until, _)| now < *until);
        // An observer is pulled from while nobody else is, and never stands in the way of a member (Q4).
        let (is_member, n) = (peer < self.n, self.n);
        let rivals = || self.pulls.iter().filter(|&(&other, _)| other < n || !is_member).map(|(_, (_, before))| before);
        let allowed = if is_member { self.max_pulls } else { 1 };
        if self.pulls.contains_key(&peer) || rivals().count() >= allowed {
            return None;
        }
        if rivals().any(|before| now < *before) {
            return None;
        }
        let (not_before, pause) = self.pause.get(&peer).copied().unwrap_or((0, FIRST_PULL_PAUSE_NS));
        let in_vain = self.progress_at_pull.get(&peer) == Some(&self.progress);
        if in_vain {
            if now < not_before {
                return None;
            }
            self.pause.insert(peer, (now + pause, (2 * pause).min(MAX_PULL_PAUSE_NS)));
        } else {
            self.pause.insert(peer, (now + FIRST_PULL_PAUSE_NS, FIRST_PULL_PAUSE_NS));
        }
        self.pulls.insert(peer, (now + PULL_TIMEOUT_NS, now + PULL_PATIENCE_NS));
        self.progress_at_pull.insert(peer, self.progress);
        Some(if in_vain { self.below_missing(frontier, most) } else { frontier.to_vec() })
    }

    /// A frontier below the slots of what is missing, and nowhere above `most`.
    ///
    /// Of two events of one slot we may have the one that the others did not build on. In an epoch that is over for
    /// them they cannot be asked for single events any more, so the slots of those that are missing are pulled again.
    fn below_missing(&self, frontier: &[u64], most: u64) -> Vec<u64> {
        let mut below: Vec<u64> = frontier.iter().map(|&round| round.min(most)).collect();
        for waiting in self.waiting.values() {
            for parent in waiting.event.parents() {
                if waiting.missing.contains(&parent.digest) && !self.waiting.contains_key(&parent.digest) {
                    let least = &mut below[usize::from(parent.creator)];
                    *least = (*least).min(parent.round.max(1) - 1);
                }
            }
        }
        below
    }

    /// The answer to a pull is complete: it ends with the peer's frontier, which is ahead of ours or not.
    pub fn pulled(&mut self, peer: usize, is_ahead: bool) {
        let asked = self.pulls.remove(&peer).is_some();
        if asked && is_ahead && self.progress_at_pull.get(&peer) == Some(&self.progress) {
            self.barren.insert(peer);
        }
    }
}

/// So much less is counted of a sender.
fn less<N: SubAssign>(counts: &mut BTreeMap<usize, N>, sender: usize, by: N) {
    *counts.get_mut(&sender).expect("it was counted") -= by;
}

/// Its sender first, then who referred to it, then anyone (F1); after the members one observer (Q4).
fn whom(want: &Want, linked: &[usize], n: usize) -> Option<usize> {
    let hinted = want.hints.iter().filter(|peer| linked.contains(peer));
    let others = linked.iter().filter(|peer| !want.hints.contains(peer));
    let order = hinted.chain(others).copied();
    let (members, turn) = (members_in(linked, n), turn_of(linked, n));
    let place = want.asked.checked_rem(turn)?;
    if place < members {
        order.filter(|&peer| peer < n).nth(place)
    } else {
        // Each time another: with all of them in a turn, the members would be asked too seldom.
        let observer = want.asked / turn % (linked.len() - members);
        order.filter(|&peer| peer >= n).nth(observer)
    }
}

/// How many are asked before the first of them is asked again.
fn turn_of(linked: &[usize], n: usize) -> usize {
    let members = members_in(linked, n);
    members + usize::from(members < linked.len())
}

fn members_in(linked: &[usize], n: usize) -> usize {
    linked.iter().filter(|&&peer| peer < n).count()
}

/// Bytes that each peer may make us send.
#[derive(Debug, Default)]
pub struct Budget {
    /// Peer -> what it has, and when that was filled up, in ns.
    accounts: BTreeMap<usize, (u64, u64)>,
}

impl Budget {
    /// At once ...
    pub const BYTES: u64 = 16 * 1024 * 1024;
    /// ... and so much more per millisecond.
    pub const BYTES_PER_MS: u64 = 64 * 1024;

    /// What a peer has, as it has grown until now.
    pub fn left(&mut self, peer: usize, now: u64) -> u64 {
        let (left, filled_at) = self.accounts.entry(peer).or_insert((Self::BYTES, 0));
        let grown = (now - *filled_at) / MS * Self::BYTES_PER_MS;
        if grown > 0 {
            *filled_at = now;
        }
        *left = (*left + grown).min(Self::BYTES);
        *left
    }

    /// Take some of it, not more than it has.
    pub fn spend(&mut self, peer: usize, bytes: u64) {
        let (left, _) = self.accounts.get_mut(&peer).expect("it was asked for what it has");
        *left -= bytes;
    }

    /// Take an answer that the store gives off it.
    ///
    /// # Errors
    /// [`Reject::Busy`].
    pub fn charge(&mut self, peer: usize, now: u64) -> Result<(), Reject> {
        if self.left(peer, now) < Server::STORED_BYTES {
            return Err(Reject::Busy);
        }
        self.spend(peer, Server::STORED_BYTES);
        Ok(())
    }
}

/// Answers to other peers' requests, within a byte budget for each of them (F1).
#[derive(Debug)]
pub struct Server {
    /// What each peer may still get.
    pub budget: Budget,
    q: usize,
    gc_depth: u64,
}

impl Server {
    /// The first event is sent whatever its size.
    pub const BYTES_PER_PULL: u64 = 1024 * 1024;
    /// For an answer of the store, which keeps the disk from what is to be written.
    pub const STORED_BYTES: u64 = 4 * Self::BYTES_PER_PULL;
    /// For an event that a pull makes us look at and is not sent: that takes time as well.
    pub const PASSED_BYTES: u64 = 256;

    /// Full budgets for all peers.
    #[must_use]
    pub fn new(committee: &Committee, gc_depth: u64) -> Self {
        Self { budget: Budget::default(), q: committee.q, gc_depth }
    }

    /// The events of a REQUEST that we have.
    ///
    /// # Errors
    /// [`Reject::Busy`].
    pub fn requested(
        &mut self,
        peer: usize,
        digests: &[Digest],
        now: u64,
        dag: &Dag,
    ) -> Result<Vec<Arc<Event>>, Reject> {
        let here = digests.iter().filter_map(|digest| dag.get(digest));
        self.within_budget(peer, here.map(|at| Some(&dag.node(at).event)), now)
    }

    /// The first events above a frontier, in ascending rounds, as many as one answer takes (F3).
    ///
    /// # Errors
    /// [`Reject::Busy`].
    pub fn above(&mut self, peer: usize, frontier: &[u64], now: u64, dag: &Dag) -> Result<Vec<Arc<Event>>, Reject> {
        let nodes = (lowest(frontier, &dag.frontier, dag.top).max(dag.floor) + 1..=dag.top)
            .flat_map(|round| &dag.row(round).nodes);
        let mut size = 0;
        let events = nodes.map_while(|node| {
            if node.event.round <= frontier[node.creator as usize] {
                return Some(None);
            }
            let more = node.event.size() as u64;
            if size > 0 && size + more > Self::BYTES_PER_PULL {
                return None;
            }
            size += more;
            Some(Some(&node.event))
        });
        self.within_budget(peer, events, now)
    }

    /// From which round on the answer to a pull begins below what is in memory; None when it does not.
    #[must_use]
    pub fn stored_from(&self, frontier: &[u64], dag: &Dag) -> Option<u64> {
        let first = first_needed(frontier, &dag.frontier, dag.top, self.q, self.gc_depth);
        (first <= dag.floor).then_some(first)
    }

    /// The events of these until the budget is used up, None for each one passed over; nothing is looked at beyond.
    fn within_budget<'a>(
        &mut self,
        peer: usize,
        nodes: impl Iterator<Item = Option<&'a Arc<Event>>>,
        now: u64,
    ) -> Result<Vec<Arc<Event>>, Reject> {
        let left = self.budget.left(peer, now);
        let mut events = Vec::new();
        let (mut spent, mut busy) = (0, false);
        for event in nodes {
            let cost = event.map_or(Self::PASSED_BYTES, |event| event.size() as u64);
            if cost > left - spent {
                busy = events.is_empty();
                break;
            }
            spent += cost;
            events.extend(event.cloned());
        }
        self.budget.spend(peer, spent);
        if busy { Err(Reject::Busy) } else { Ok(events) }
    }
}

/// The lowest round that a peer with a frontier lacks of what we have up to `top`, and has a use for.
///
/// Whoever has q events of a round needs nothing `gc_depth` below it any more (V3).
#[must_use]
pub fn first_needed(frontier: &[u64], ours: &[u64], top: u64, q: usize, gc_depth: u64) -> u64 {
    let mut rounds = frontier.to_vec();
    rounds.sort_unstable_by_key(|&round| Reverse(round));
    lowest(frontier, ours, top).max(rounds[q - 1].saturating_sub(gc_depth)) + 1
}

/// The lowest round of a creator of whom we have more than a peer with this frontier; else `top`.
fn lowest(frontier: &[u64], ours: &[u64], top: u64) -> u64 {
    let behind = frontier.iter().zip(ours).filter(|(their, our)| their < our);
    behind.map(|(&their, _)| their).min().unwrap_or(top)
}

/// The newest refused events.
#[derive(Debug, Default)]
struct Refused {
    digests: BTreeSet<Digest>,
    oldest_first: VecDeque<Digest>,
}

impl Refused {
    fn insert(&mut self, digest: Digest) {
        if self.oldest_first.len() >= MAX_REFUSED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.digests.remove(&oldest);
        }
        if self.digests.insert(digest) {
            self.oldest_first.push_back(digest);
        }
    }
}

//! What peers tell each other so that nobody lacks anything for long: frontiers, requests and answers (F1, F3).

use std::sync::Arc;

use bytes::Bytes;

use crate::bits::{Creators, creator};
use crate::committee::Committee;
use crate::config::{Local, Network};
use crate::dag::Dag;
use crate::error::Reject;
use crate::fetch::{Fetcher, Server};
use crate::output::Output;
use crate::recover::Recovery;
use crate::values::Event;
use crate::wire::{self, FrameType};

/// Without a closed round while something waits, before frontiers are exchanged again.
pub const STALL_NS: u64 = 500_000_000;
/// The same while nothing waits.
pub const STALL_HEARTBEATS: u64 = 2;

/// What an exchange looks at, and where it says what is to be sent.
pub struct Desk<'a> {
    /// ns.
    pub now: u64,
    /// The graph.
    pub dag: &'a Dag,
    /// What is to be done, in order.
    pub outputs: &'a mut Vec<Output>,
}

/// Compares how far we are with how far the others are, and fills whichever side is behind.
#[derive(Debug)]
pub struct Exchange {
    /// What waits, and how to get what it waits for.
    pub fetcher: Fetcher,
    /// What others get from us.
    pub server: Server,
    /// What we know of our own past.
    pub recovery: Recovery,
    /// Who says that it is in a later epoch.
    pub beyond: Creators,
    /// The highest round that has closed here.
    pub closed: u64,
    /// The beginning of the epoch is durable: before it is, nobody may count on our being in it.
    pub is_begun: bool,
    n: usize,
    f: usize,
    /// Its number.
    epoch: u32,
    local: Local,
    gc_depth: u64,
    observes: bool,
    /// ns, when a round closed last, or frontiers were exchanged again.
    quiet_since: u64,
}

impl Exchange {
    /// Nothing was heard yet in the epoch with a number.
    #[must_use]
    pub fn new(network: &Network, committee: &Committee, local: &Local, own: usize, epoch: u32) -> Self {
        Self {
            fetcher: Fetcher::new(committee, own, local.pool_bytes_per_sender),
            server: Server::new(committee, network.gc_depth),
            recovery: Recovery::new(committee, own, network.gc_depth),
            n: committee.n,
            epoch,
            beyond: 0,
            closed: 0,
            is_begun: true,
            f: committee.f,
            local: local.clone(),
            gc_depth: network.gc_depth,
            observes: own >= committee.n,
            quiet_since: 0,
        }
    }

    /// Whether an honest member has gone on to a later epoch: so many say so of themselves.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.beyond.count_ones() as usize > self.f
    }

    /// Whether a peer is one of these.
    #[must_use]
    pub fn is_through(&self, peer: usize) -> bool {
        self.is_over() && peer < self.n && self.beyond & creator(peer) != 0
    }

    /// A link is up: say how far we are.
    pub fn connected(&mut self, peer: usize, desk: &mut Desk<'_>) {
        self.fetcher.connected(peer);
        self.tell(peer, desk);
    }

    /// Say to all that we are in this epoch, and how far (S4).
    pub fn begin(&mut self, desk: &mut Desk<'_>) {
        self.is_begun = true;
        for &peer in &self.fetcher.linked {
            self.tell(peer, desk);
        }
    }

    /// Say how far we are.
    pub fn tell(&self, peer: usize, desk: &mut Desk<'_>) {
        self.send_frontier(FrameType::Frontier, peer, desk);
    }

    /// Take a REQUEST, FRONTIER or PULL frame.
    ///
    /// # Errors
    /// The reason why it is not taken.
    pub fn frame(&mut self, peer: usize, kind: FrameType, frame: &Bytes, desk: &mut Desk<'_>) -> Result<(), Reject> {
        if kind == FrameType::Request {
            let digests = wire::decode_request(frame)?;
            let events = self.server.requested(peer, &digests, desk.now, desk.dag)?;
            desk.send_events(peer, &events);
            return Ok(());
        }
        if wire::epoch_of_frontier(frame)? > self.epoch {
            if peer < self.n {
                self.beyond |= creator(peer);
            }
            self.pull(peer, desk); // it is through with this epoch: what it has of that leads there
            return Ok(());
        }
        let theirs = wire::decode_frontier(frame, self.n)?;
        self.frontier(peer, &theirs, kind == FrameType::Pull, desk)
    }

    /// Answer a pull for this epoch, which is over (S4).
    ///
    /// # Errors
    /// The reason why it is not answered.
    pub fn answer(&mut self, peer: usize, frame: &[u8], desk: &mut Desk<'_>) -> Result<(), Reject> {
        let theirs = wire::decode_frontier(frame, self.n)?;
        self.give(peer, &theirs, desk)
    }

    /// Ask a peer for all that it has above our frontier, unless it is asked already.
    pub fn pull(&mut self, peer: usize, desk: &mut Desk<'_>) {
        if !self.is_begun {
            return;
        }
        // What closed an epoch that is over may be events that nobody refers to, in slots of which we have others.
        let most = if self.is_over() { self.closed } else { wire::MAX_ROUND };
        if let Some(above) = self.fetcher.pull(peer, &desk.dag.frontier, most, desk.now) {
            let frame = wire::encode_frontier(FrameType::Pull, &above, self.epoch);
            desk.outputs.push(Output::Send { peer, frame });
        }
    }

    /// Note that all is well: a round closed.
    pub fn rest(&mut self, now: u64) {
        self.quiet_since = now;
    }

    /// Ask for what is missing, and for how far the others are when nothing closes; when to look again.
    ///
    /// `busy` says that something waits to be delivered, `certain` that we need nothing from the others to sign.
    pub fn poll(&mut self, busy: bool, certain: bool, desk: &mut Desk<'_>) -> Option<u64> {
        let (requests, due) = self.fetcher.poll(desk.now);
        for (peer, digests) in requests {
            desk.outputs.push(Output::Send { peer, frame: wire::encode_request(&digests) });
        }
        if self.fetcher.linked.is_empty() {
            return due;
        }
        let stall = if busy { STALL_NS } else { STALL_HEARTBEATS * self.local.heartbeat_ns };
        if desk.now >= self.quiet_since + stall {
            // frames were lost, or too few peers are linked
            self.quiet_since = desk.now;
            if certain && self.is_begun {
                let frame = self.encoded(FrameType::Frontier, desk.dag);
                desk.outputs.push(Output::Broadcast { frame });
            } else {
                let mut unheard: Vec<usize> = self.fetcher.linked.clone();
                unheard.retain(|&peer| peer < self.n && !self.recovery.is_heard(peer, desk.dag));
                unheard.sort_unstable();
                for peer in unheard {
                    self.send_frontier(FrameType::Pull, peer, desk); // whoever is pulled from says how far it is
                }
            }
        }
        let look_at = self.quiet_since + stall;
        Some(due.map_or(look_at, |due| due.min(look_at)))
    }

    // -- private ----------------------------------------------------------------------------------

    /// Learn how far a peer is; fill whichever side is behind (F3).
    fn frontier(&mut self, peer: usize, theirs: &[u64], pull: bool, desk: &mut Desk<'_>) -> Result<(), Reject> {
        if peer < self.n && !self.observes {
            self.recovery.frontier(peer, theirs, desk.dag); // what observers say of us counts for nothing (Q4)
        }
        // What lies so low can no longer be taken (F4).
        let floor = if desk.dag.floor > 0 { desk.dag.floor + self.gc_depth } else { 0 };
        let pairs = || theirs.iter().zip(desk.dag.frontier.iter().map(|&our| our.max(floor)));
        let behind = pairs().any(|(&their, our)| their > our);
        let ahead = pairs().any(|(&their, our)| their < our);
        if !pull {
            self.fetcher.pulled(peer, behind);
        }
        if behind {
            self.pull(peer, desk);
        }
        if pull {
            return self.give(peer, theirs, desk);
        }
        if !behind && ahead {
            self.send_frontier(FrameType::Frontier, peer, desk);
        }
        Ok(())
    }

    /// Answer a pull, from the store where we have dropped what comes next.
    fn give(&mut self, peer: usize, theirs: &[u64], desk: &mut Desk<'_>) -> Result<(), Reject> {
        let first = self.server.stored_from(theirs, desk.dag).filter(|_| self.local.stores);
        let last = self.encoded(FrameType::Frontier, desk.dag);
        if let Some(first) = first {
            self.server.budget.charge(peer, desk.now)?;
            let (epoch, frontier, most) = (self.epoch, theirs.to_vec(), Server::BYTES_PER_PULL);
            desk.outputs.push(Output::SendStored { peer, epoch, first, frontier, most, last });
        } else {
            let events = self.server.above(peer, theirs, desk.now, desk.dag)?;
            desk.send_events(peer, &events);
            desk.outputs.push(Output::Send { peer, frame: last });
        }
        Ok(())
    }

    fn send_frontier(&self, kind: FrameType, peer: usize, desk: &mut Desk<'_>) {
        if self.is_begun {
            let frame = self.encoded(kind, desk.dag);
            desk.outputs.push(Output::Send { peer, frame });
        }
    }

    fn encoded(&self, kind: FrameType, dag: &Dag) -> Bytes {
        wire::encode_frontier(kind, &dag.frontier, self.epoch)
    }
}

impl Desk<'_> {
    fn send_events(&mut self, peer: usize, events: &[Arc<Event>]) {
        let frames = events.iter().map(|event| Output::Send { peer, frame: event.frame().clone() });
        self.outputs.extend(frames);
    }
}

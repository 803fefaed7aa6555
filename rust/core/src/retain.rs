//! How much of the past is kept, for ourselves and for peers that are behind (F4).

use crate::config::{Local, Network};

/// Rounds retained whatever their events take, in `gc_depth`s.
pub const RETAIN_GC_DEPTHS: u64 = 3;

/// Rounds and bytes of events that stay in memory, and what a start needs from a store (R1).
#[derive(Debug)]
pub struct Retention {
    /// Below the last closed one.
    pub rounds: u64,
    /// The same, whatever they take.
    least: u64,
    bytes: u64,
    gc_depth: u64,
}

impl Retention {
    /// What a peer of n has set for itself.
    #[must_use]
    pub fn new(network: &Network, local: &Local, n: usize) -> Self {
        let least = RETAIN_GC_DEPTHS * network.gc_depth;
        let rounds = (local.retain_events / n as u64).max(least);
        Self { rounds, least, bytes: local.retain_bytes, gc_depth: network.gc_depth }
    }

    /// Up to which round to drop, with `held` bytes of events here; nothing when it is not above 0.
    #[must_use]
    pub fn floor(&self, closed: u64, held: u64) -> u64 {
        closed.saturating_sub(self.kept(held))
    }

    /// How far below the others' an event may be, so that they can take it: they retain about what we do.
    #[must_use]
    pub fn reach(&self, held: u64) -> u64 {
        self.kept(held) - self.gc_depth
    }

    fn kept(&self, held: u64) -> u64 {
        if held > self.bytes { self.least } else { self.rounds }
    }
}

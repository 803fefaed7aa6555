//! How much of the past is kept, for ourselves and for peers that are behind (F4).

use crate::config::{Local, Network};

/// Rounds retained whatever their events take, in `gc_depth`s.
pub const RETAIN_GC_DEPTHS: u64 = 2;

/// Rounds and bytes of events that stay in memory, and what a start needs from a store (R1).
#[derive(Debug)]
pub struct Retention {
    /// Rounds below the last closed one that always stay; a start needs no more.
    pub least: u64,
    /// Rounds below the last closed one.
    pub rounds: u64,
    bytes: u64,
}

impl Retention {
    /// What a peer of n has set for itself.
    #[must_use]
    pub fn new(network: &Network, local: &Local, n: usize) -> Self {
        let least = RETAIN_GC_DEPTHS * network.gc_depth;
        Self { least, rounds: (local.retain_events / n as u64).max(least), bytes: local.retain_bytes }
    }

    /// Up to which round to drop, with `held` bytes of events here; nothing when it is not above 0.
    #[must_use]
    pub fn floor(&self, closed: u64, held: u64) -> u64 {
        closed.saturating_sub(if held > self.bytes { self.least } else { self.rounds })
    }
}

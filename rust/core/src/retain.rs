//! How much of the past is kept, for ourselves and for peers that are behind (F4).

use crate::config::{Local, Network};

/// Rounds retained whatever their events take, in `gc_depth`s.
pub const RETAIN_GC_DEPTHS: u64 = 2;
/// Times what is retained: so far behind, or so much held, a peer gives up making events.
pub const HOPELESS: u64 = 4;

/// Rounds and bytes of events that stay in memory, and what a start needs from a store (R1).
#[derive(Debug)]
pub struct Retention {
    /// Below the last closed one.
    pub rounds: u64,
    least: u64,
    bytes: u64,
}

impl Retention {
    /// What a peer of n has set for itself.
    #[must_use]
    pub fn new(network: &Network, local: &Local, n: usize) -> Self {
        let least = RETAIN_GC_DEPTHS * network.gc_depth;
        Self { rounds: (local.retain_events / n as u64).max(least), least, bytes: local.retain_bytes }
    }

    /// Up to which round to drop, with `held` bytes of events here; nothing when it is not above 0.
    ///
    /// `own_round` is the round that our next event builds on, None when we make no more.
    #[must_use]
    pub fn floor(&self, closed: u64, held: u64, own_round: Option<u64>) -> u64 {
        let floor = closed.saturating_sub(if held > self.bytes { self.least } else { self.rounds });
        // Our own rounds have no gaps (P1): the next one builds on the last.
        own_round.map_or(floor, |own_round| floor.min(own_round.saturating_sub(self.least)))
    }

    /// Why our next event can never be, if so: we are too far behind.
    #[must_use]
    pub fn hopeless(&self, closed: u64, held: u64, own_round: u64) -> Option<String> {
        let behind = closed.saturating_sub(own_round);
        // A retention without end is one that a peer may set for itself.
        let (rounds, bytes) = (HOPELESS.saturating_mul(self.rounds), HOPELESS.saturating_mul(self.bytes));
        (behind > rounds || (held > bytes && behind > self.least)).then(|| {
            format!(
                "our newest event is of round {own_round}, and round {closed} has closed: \
                 what the next one would have to build on is too long ago"
            )
        })
    }
}

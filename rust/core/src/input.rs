//! What the runtime tells a machine.
//!
//! Peers have numbers: those that order their creator index, 0 to n - 1, observers the numbers from n on (Q4).

use bytes::Bytes;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The first input: the journal's records, oldest first (J1, R1); empty for a new peer.
    Start {
        /// As they were persisted.
        records: Vec<Bytes>,
    },
    /// Frames from a peer, in the order in which they arrived, without their length prefix.
    Received {
        /// Number of the peer.
        peer: usize,
        /// Whole frames.
        frames: Vec<Bytes>,
    },
    /// Transactions of our own application; they are numbered from 0 in the order in which they come in.
    Submit {
        /// Each as the application gave it.
        transactions: Vec<Bytes>,
    },
    /// The records of the Persist with this token are durable now.
    Persisted {
        /// Of the Persist.
        token: u64,
    },
    /// A link to this peer is up.
    Connected {
        /// Number of the peer.
        peer: usize,
    },
    /// The link to this peer is gone.
    Disconnected {
        /// Number of the peer.
        peer: usize,
    },
}

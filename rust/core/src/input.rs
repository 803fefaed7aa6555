//! What the runtime tells a machine.
//!
//! Peers have numbers, which they keep as long as they are members: at first those that order their creator index, 0 to
//! n - 1, and observers the numbers from n on (Q4); whoever joins gets the next free one (`roster::Roster`).

use bytes::Bytes;

use crate::crypto::SEED_BYTES;
use crate::values::Digest;

/// One thing that happened; not `Debug`, as one of them holds a secret.
#[derive(Clone)]
pub enum Input {
    /// The first input: what the store has (J1, J2, R1), nothing for a new peer.
    ///
    /// The records are the beginnings of all epochs after the first; if anything was delivered in the newest epoch, a
    /// place and the state of proposals and votes there if there is any; then events in the order in which they were
    /// written: of the newest epoch all those of the retained rounds up to the place and above, and of any epoch own
    /// ones from the oldest on that was not delivered; then which own ones were delivered before the place.
    Start {
        /// As they were persisted.
        records: Vec<Bytes>,
        /// False when own events may be missing: lost, from a backup, or damaged (R2).
        whole: bool,
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
    /// Our own application asks for a sync point (S1).
    Propose {
        /// `items::encode_proposal`, which has an id by `items::proposal_id`.
        body: Bytes,
    },
    /// Our own application approves or refuses a proposal (S1).
    Vote {
        /// Its id.
        proposal: Digest,
        /// Else it refuses.
        approves: bool,
    },
    /// The hash of our own application's state behind a sync point (C1).
    Attest {
        /// Of the sync point.
        index: u64,
        /// 32 bytes.
        state_hash: Digest,
    },
    /// Ask for a certificate of the first checkpoint at an index or behind it; `Certified` answers (C2).
    Certify {
        /// Of an event or a sync point.
        index: u64,
    },
    /// The secret of a key that takes the place of ours in the first epoch whose committee has it (S4).
    NextKey {
        /// 32 bytes.
        seed: [u8; SEED_BYTES],
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

//! What a machine tells the runtime to do; outputs are carried out in order.
//!
//! Peers have numbers as in `input`.

use bytes::Bytes;

use crate::checkpoint::{Certificate, Divergence};
use crate::epoch::{Ballot, Outcome};
use crate::error::Reject;
use crate::journal::EpochStart;
use crate::values::{Digest, Message};

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Make these records durable, not before those of an earlier one, then answer `Persisted(token)` (J1).
    Persist {
        /// Numbers the answers.
        token: u64,
        /// In this order.
        records: Vec<Bytes>,
    },
    /// Write these records of accepted events, in this order and before what comes after; nothing waits for it (J2).
    Write {
        /// In this order.
        records: Vec<Bytes>,
    },
    /// Send a frame to a peer, or drop it when its queue is full.
    Send {
        /// Number of the peer.
        peer: usize,
        /// A whole frame.
        frame: Bytes,
    },
    /// Send a peer events that only the store has, lowest rounds first, as many as `most` bytes take; then a frame.
    SendStored {
        /// Number of the peer.
        peer: usize,
        /// The number of the epoch that they are of.
        epoch: u32,
        /// The lowest round.
        first: u64,
        /// Round for each creator: the peer has what is not above.
        frontier: Vec<u64>,
        /// Bytes; one event is sent whatever its size.
        most: u64,
        /// The frame that ends the answer.
        last: Bytes,
    },
    /// Send a frame to every linked peer.
    Broadcast {
        /// A whole frame.
        frame: Bytes,
    },
    /// Hand these to the application, in this order.
    Deliver {
        /// Next in the agreed order.
        messages: Vec<Message>,
        /// Where the state of proposals and votes changed: round, the state after it.
        states: Vec<(u64, Bytes)>,
    },
    /// A proposal was delivered and is open, or is still after a restart (S1).
    Opened {
        /// With its id and its proposer, a creator in the epoch that was entered last.
        ballot: Ballot,
        /// Our vote is counted, or we have none.
        voted: bool,
    },
    /// A proposal is decided; after an adopted one comes its sync point (S2).
    ///
    /// It comes once for each that was `Opened` here, and for each that our own application asked for since the start
    /// and that never was open. Of what others ask for in vain nobody hears.
    Closed {
        /// Its id.
        proposal: Digest,
        /// How.
        outcome: Outcome,
    },
    /// A certificate that was asked for; without signatures where the checkpoint is too old to be known (C2).
    Certified {
        /// With the index that was asked for.
        certificate: Certificate,
    },
    /// Others contradict us, honest ones among them: our order, or our application, is another one (C4).
    Diverged {
        /// Where, and what they say.
        divergence: Divergence,
    },
    /// An epoch has begun: from here on its members, their numbers and its settings hold (S4).
    ///
    /// Its sync point was delivered before. Peers that are no members any more are still served for a while.
    Entered {
        /// Where it begins.
        start: EpochStart,
    },
    /// So much of what was submitted has not gone into an event yet.
    Queue {
        /// Transactions.
        transactions: usize,
        /// As encoded.
        bytes: usize,
    },
    /// Call `step` at this time; replaces the earlier one.
    Wake {
        /// ns.
        at: u64,
    },
    /// A frame of this peer was not taken; one that is malformed costs it the link.
    Rejected {
        /// Number of the peer.
        peer: usize,
        /// Why.
        code: Reject,
    },
    /// This machine makes no more events, and why; it still follows, serves and delivers.
    Halted {
        /// In words.
        reason: String,
    },
}

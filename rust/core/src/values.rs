//! The values that travel through the core: events, their parts, and what becomes of them.

use std::sync::Arc;

use bytes::Bytes;

use crate::bits::Creators;

/// A BLAKE3 hash.
pub type Digest = [u8; 32];

/// What an item in an event is for; unknown types are signed, kept and ignored (E5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ItemType {
    /// A proposal.
    Propose = 1,
    /// A vote on a proposal.
    Vote = 2,
    /// A vote on a checkpoint.
    CheckpointVote = 3,
    /// The proof of an equivocation.
    Evidence = 4,
}

/// What a sync point is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SyncPointKind {
    /// A new session begins.
    Session = 1,
    /// Other members.
    Membership = 2,
    /// Another key of a member.
    KeyRotation = 3,
    /// Other settings.
    Config = 4,
    /// A place to take a snapshot at.
    Snapshot = 5,
    /// A regular beat, or one that was asked for.
    Epoch = 6,
    /// What the application says.
    Custom = 7,
    /// The session is over.
    End = 8,
}

/// A typed attachment of an event (E5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// An [`ItemType`], or one that this version does not know.
    pub r#type: u16,
    /// What it says.
    pub body: Bytes,
}

/// A reference to an earlier event; what it says of that event is checked when the event is here (V3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parent {
    /// Its creator's index.
    pub creator: u16,
    /// Its round.
    pub round: u64,
    /// Its id.
    pub digest: Digest,
}

/// One signed vertex of the DAG (E1).
///
/// It stays the bytes that it came in: parents, items and transactions are read off them when they are asked for.
#[derive(Clone, Debug)]
pub struct Event {
    /// Index in the committee.
    pub creator: u16,
    /// From 1.
    pub round: u64,
    /// ns since the Unix epoch, as its creator claims.
    pub created_at: u64,
    /// Its id (E2).
    pub digest: Digest,
    /// The whole EVENT frame: type, header, signature, payload.
    pub(crate) frame: Bytes,
    /// Where the header ends in the frame.
    pub(crate) header_end: u32,
    /// Parents in the header.
    pub(crate) parent_count: u16,
    /// Items in the header.
    pub(crate) item_count: u16,
    /// Transactions in the payload (E3).
    pub(crate) transaction_count: u32,
}

impl Event {
    /// The EVENT frame that carries it.
    #[must_use]
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The encoded, signed header.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.frame[1..self.header_end as usize]
    }

    /// 64 bytes (E2).
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        let start = self.header_end as usize;
        self.frame[start..start + 64].try_into().expect("64 bytes")
    }

    /// About what it takes in memory and on the wire, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.frame.len() - 1
    }

    /// Whether anything in it waits to be delivered; an idle network makes events that carry nothing.
    ///
    /// A vote for a checkpoint counts where it is, in the DAG (C1): rounds for its sake would never end.
    #[must_use]
    pub fn carries(&self) -> bool {
        self.transaction_count > 0 || self.items().any(|item| item.r#type != ItemType::CheckpointVote as u16)
    }

    /// How many parents it has.
    #[must_use]
    pub fn parent_count(&self) -> usize {
        self.parent_count as usize
    }

    /// How many transactions it has.
    #[must_use]
    pub fn transaction_count(&self) -> usize {
        self.transaction_count as usize
    }

    /// Bytes of all its transactions.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.frame.len() - self.header_end as usize - 64 - 4 * self.transaction_count()
    }

    // Where parents, items and transactions are in the frame is in `wire`: `Event::parents`, `Event::items`,
    // `Event::transactions`.
}

/// An event at its place in the agreed order (O7 to O10).
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The event; its parents' digests are in it, in creator order.
    pub event: Arc<Event>,
    /// From 0.
    pub index: u64,
    /// ns, strictly increasing (O8).
    pub consensus_at: u64,
    /// 32 bytes (O9).
    pub order_hash: Digest,
    /// 64 bytes (O10).
    pub whitened_signature: [u8; 64],
    /// The round whose closing delivered it.
    pub closed_by: u64,
    /// Of our own events: the number of each transaction, None from before a restart.
    pub submissions: Vec<Option<u64>>,
    /// The number of the epoch: whose committee the event's creator is an index in.
    pub epoch: u32,
}

/// A decision of the network about itself, at its place in the agreed order (S2).
#[derive(Clone, Debug)]
pub struct SyncPoint {
    /// One of [`SyncPointKind`].
    pub kind: u8,
    /// What its proposer attached.
    pub metadata: Bytes,
    /// The id of the proposal, 32 bytes; zeros: nobody had to ask.
    pub proposal: Digest,
    /// Creator; None: nobody had to ask.
    pub proposer: Option<u16>,
    /// Bit set over creators: who agreed.
    pub approvals: Creators,
    /// Its number among the sync points, from 1.
    pub epoch_index: u64,
    /// 32 bytes: names the session that goes on or starts here.
    pub session_id: Digest,
    /// 32 bytes, in the place of an event's (O9).
    pub digest: Digest,
    /// In the same numbering as events.
    pub index: u64,
    /// ns, strictly increasing (O8).
    pub consensus_at: u64,
    /// 32 bytes (O9).
    pub order_hash: Digest,
    /// The round whose closing delivered it.
    pub closed_by: u64,
    /// Of a kind in `change::CHANGING`: what it changes from the next epoch on (S4).
    pub change: Bytes,
    /// The number of the epoch: whose committee `proposer` and `approvals` are indices in.
    pub epoch: u32,
}

/// What has a place in the agreed order.
#[derive(Clone, Debug)]
pub enum Message {
    /// An event.
    Event(Delivered),
    /// A sync point.
    SyncPoint(SyncPoint),
}

/// The middle value, the lower one of two; `values` is not empty.
///
/// It is left in any order.
pub fn lower_median(values: &mut [u64]) -> u64 {
    let middle = (values.len() - 1) / 2;
    *values.select_nth_unstable(middle).1
}

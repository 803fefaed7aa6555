//! Why a peer's bytes are refused: numbered values, never exceptions.
//!
//! The numbers are part of both cores' contract (law L2) and appear in `Status.rejects`.

use std::fmt;

/// The reason why a frame or an event of a peer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reject {
    // Frames and encodings: E4, T2.
    /// A frame without a type byte.
    FrameEmpty = 1,
    /// A frame type that this version does not know.
    FrameType = 2,
    /// The bytes end before the value does.
    Truncated = 3,
    /// The value ends before the bytes do.
    Trailing = 4,
    /// A length or a count above its limit.
    Limit = 5,

    // The event alone: V1, V2, V3, V6.
    /// V1.
    Version = 10,
    /// V1: another network, committee or epoch.
    Epoch = 11,
    /// V1: not in the committee.
    Creator = 12,
    /// Round 0, or above 2^62.
    Round = 13,
    /// V1.
    Signature = 14,
    /// V2: fewer than q strong parents, or parents in round 1.
    NoQuorum = 15,
    /// V3: two parents of one creator, or not in creator order.
    ParentOrder = 16,
    /// V3: a parent that is not older, or older than `gc_depth` allows.
    ParentRound = 17,
    /// V6: payload does not match root or length.
    Payload = 18,

    // The event and its ancestors: V3, V4, V5, V8.
    /// A parent is not the event its reference says it is.
    ParentMismatch = 20,
    /// V4.
    SelfParent = 21,
    /// V5: not after the self-parent, or above 2^62.
    Time = 22,
    /// V8.
    ExposedAuthor = 23,
    /// An ancestor was refused for good.
    InvalidAncestor = 24,

    // Not taken now, without being invalid: V7, F2, F4, R5.
    /// V7: too far above the highest round that we know.
    Ahead = 30,
    /// V7: the sender's share of the pool of waiting events is used up.
    PoolFull = 31,
    /// F4: below the rounds that we retain.
    TooOld = 32,
    /// F2: a second variant that no event refers to.
    Equivocation = 33,
    /// R5: signed with our key, but not by us.
    NotOurs = 34,
    /// More asked for than a peer's byte budget allows (F1).
    Busy = 35,
}

/// What a caller did wrong, or what our own store contradicts itself in; never a peer's doing (law L7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A value outside its range: what was given, what is allowed.
    Argument(String),
    /// The journal holds what this peer cannot have written.
    Corrupt(String),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(text) | Self::Corrupt(text) => out.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

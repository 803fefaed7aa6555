//! What events say about the network itself, as items: bytes to values and back (E5, S1, C1).

use bytes::Bytes;

use crate::change::{CHANGING, MAX_CHANGE_BYTES};
use crate::crypto::{HASH_BYTES, SIGNATURE_BYTES, blake3};
use crate::values::{Digest, Item, ItemType};

/// What the id of a proposal is hashed with.
pub const DOMAIN_PROPOSAL: &[u8] = b"syncpoint/proposal/v1";
/// What the message that a vote for a checkpoint signs starts with.
pub const DOMAIN_CHECKPOINT: &[u8] = b"syncpoint/checkpoint/v1";
/// Bytes of metadata of a proposal.
pub const MAX_METADATA_BYTES: usize = 8_192;

const PROPOSAL_BYTES: usize = 1 + 8 + 8; // without its content
const VOTE_BYTES: usize = HASH_BYTES + 1;
const CHECKPOINT_BYTES: usize = 8 + 2 * HASH_BYTES + SIGNATURE_BYTES;

/// A sync point that a peer asks for (S1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// One of the kinds of sync points, or none.
    pub kind: u8,
    /// ns of consensus time: later it is refused.
    pub deadline: u64,
    /// Random, so that two alike have different ids.
    pub salt: u64,
    /// Of the proposer's application.
    pub metadata: Bytes,
    /// Of a kind in [`CHANGING`]: what it changes (`change::encode_change`).
    pub change: Bytes,
}

/// What a peer says to a proposal (S1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Its id.
    pub proposal: Digest,
    /// Else it refuses.
    pub approves: bool,
}

/// What a peer says of the order at a checkpoint, signed apart from the event that brings it (C1, C2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointVote {
    /// Of the last event or sync point before it.
    pub index: u64,
    /// After that.
    pub order_hash: Digest,
    /// Of the application; 32 zero bytes: not attested.
    pub state_hash: Digest,
    /// Of [`checkpoint_message`].
    pub signature: [u8; SIGNATURE_BYTES],
}

/// The body of a PROPOSE item.
#[must_use]
pub fn encode_proposal(proposal: &Proposal) -> Bytes {
    let content = encode_content(proposal.kind, &proposal.change, &proposal.metadata);
    let mut body = Vec::with_capacity(PROPOSAL_BYTES + content.len());
    body.push(proposal.kind);
    body.extend(proposal.deadline.to_le_bytes());
    body.extend(proposal.salt.to_le_bytes());
    body.extend(content);
    body.into()
}

/// What a PROPOSE item asks for, None when it is none.
#[must_use]
pub fn decode_proposal(body: &Bytes) -> Option<Proposal> {
    let (kind, rest) = body.split_first()?;
    let (deadline, rest) = rest.split_first_chunk()?;
    let (salt, content) = rest.split_first_chunk()?;
    let (change, metadata) = decode_content(*kind, content)?;
    Some(Proposal {
        kind: *kind,
        deadline: u64::from_le_bytes(*deadline),
        salt: u64::from_le_bytes(*salt),
        metadata: body.slice_ref(metadata),
        change: body.slice_ref(change),
    })
}

/// What a sync point changes, if it is of a kind that changes something, and the metadata behind it.
#[must_use]
pub fn encode_content(kind: u8, change: &[u8], metadata: &[u8]) -> Vec<u8> {
    if !is_changing(kind) {
        return metadata.to_vec();
    }
    let size = u16::try_from(change.len()).expect("a change is short");
    [&size.to_le_bytes(), change, metadata].concat()
}

/// Change and metadata of a sync point, None when they are none.
#[must_use]
pub fn decode_content(kind: u8, data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut change, mut metadata) = data.split_at(0);
    if is_changing(kind) {
        let (size, rest) = data.split_first_chunk()?;
        (change, metadata) = rest.split_at_checked(u16::from_le_bytes(*size).into())?;
    }
    (change.len() <= MAX_CHANGE_BYTES && metadata.len() <= MAX_METADATA_BYTES).then_some((change, metadata))
}

/// The id of the proposal of the member with a number, 32 bytes; the same in all epochs of a network.
#[must_use]
pub fn proposal_id(network_id: &Digest, number: u16, body: &[u8]) -> Digest {
    blake3(&[DOMAIN_PROPOSAL, network_id, &number.to_le_bytes(), body].concat())
}

/// The body of a VOTE item.
#[must_use]
pub fn encode_vote(vote: &Vote) -> Bytes {
    [&vote.proposal[..], &[u8::from(vote.approves)]].concat().into()
}

/// What a VOTE item says, None when it is none.
#[must_use]
pub fn decode_vote(body: &[u8]) -> Option<Vote> {
    let body: &[u8; VOTE_BYTES] = body.try_into().ok()?;
    let (proposal, approves) = body.split_first_chunk()?;
    (approves[0] <= 1).then_some(Vote { proposal: *proposal, approves: approves[0] == 1 })
}

/// What is signed for a checkpoint: the committee is in the epoch id (C2).
#[must_use]
pub fn checkpoint_message(epoch_id: &Digest, index: u64, order_hash: &Digest, state_hash: &Digest) -> Vec<u8> {
    [DOMAIN_CHECKPOINT, epoch_id, &index.to_le_bytes(), order_hash, state_hash].concat()
}

/// The body of a CHECKPOINT_VOTE item.
#[must_use]
pub fn encode_checkpoint_vote(vote: &CheckpointVote) -> Bytes {
    let mut body = Vec::with_capacity(CHECKPOINT_BYTES);
    body.extend(vote.index.to_le_bytes());
    body.extend(vote.order_hash);
    body.extend(vote.state_hash);
    body.extend(vote.signature);
    body.into()
}

/// What a CHECKPOINT_VOTE item says, None when it is none; its signature is not checked.
#[must_use]
pub fn decode_checkpoint_vote(body: &[u8]) -> Option<CheckpointVote> {
    let body: &[u8; CHECKPOINT_BYTES] = body.try_into().ok()?;
    let (index, rest) = body.split_first_chunk()?;
    let (order_hash, rest) = rest.split_first_chunk()?;
    let (state_hash, rest) = rest.split_first_chunk()?;
    Some(CheckpointVote {
        index: u64::from_le_bytes(*index),
        order_hash: *order_hash,
        state_hash: *state_hash,
        signature: rest.try_into().ok()?,
    })
}

/// Whether an item counts only once it is delivered (S1); what else is said has its effect before.
#[must_use]
pub fn is_counted(item: &Item) -> bool {
    [ItemType::Propose as u16, ItemType::Vote as u16].contains(&item.r#type)
}

/// Whether sync points of this kind change something.
pub(crate) fn is_changing(kind: u8) -> bool {
    CHANGING.iter().any(|&changing| changing as u8 == kind)
}

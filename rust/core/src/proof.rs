//! Proofs that stand by themselves: a sync point or a transaction, its place in the order, and who vouches for it (C3).
//!
//! Whoever checks one needs the bytes and what the network file says, nothing else; the bytes are in docs/proofs.md. Of a
//! network whose members, keys or settings changed, a proof has the links from epoch to epoch, up to those who signed (C2).
//! The Python core makes them, too: an engine is Python.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::bits::Creators;
use crate::change::{MAX_CHANGE_BYTES, decode_change};
use crate::committee::Committee;
use crate::config::MAX_PAYLOAD_BYTES;
use crate::crypto::{HASH_BYTES, PUBLIC_BYTES, SIGNATURE_BYTES, merkle_check};
use crate::epoch::sync_point_digest;
use crate::items::{MAX_METADATA_BYTES, checkpoint_message, decode_content, is_changing};
use crate::order::next_order_hash;
use crate::roster::Roster;
use crate::transition::{check_transition, decode_transition, hashes_of};
use crate::values::{Digest, SyncPointKind};
use crate::wire::{created_at_of, decode_header, event_digest, payload_root_of};

/// The first field of a proof.
pub const PROOF_VERSION: u16 = 1;
/// A longer proof is none.
pub const MAX_PROOF_BYTES: usize = 16 * 1024 * 1024;
/// From what is proved to its checkpoint.
pub const MAX_PLACES: usize = 65_536;
/// Of the event that a transaction is in.
pub const MAX_HEADER_BYTES: usize = 128 * 1024;
/// Of a transaction in the tree of its event: `MAX_TRANSACTIONS` have no more.
pub const MAX_DEPTH: u8 = 14;
/// From the first epoch to the one of the checkpoint.
pub const MAX_TRANSITIONS: u16 = 4_096;
/// Of one of them.
pub const MAX_TRANSITION_BYTES: usize = 32 * 1024;

const LATER_BYTES: usize = HASH_BYTES + 8;
const NOBODY: u16 = 0xFFFF;

/// The reason why bytes prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flaw {
    /// The bytes end before the proof does.
    Truncated = 1,
    /// The proof ends before the bytes do.
    Trailing = 2,
    /// Longer than a proof may be, or a length or a count in it above its limit.
    Limit = 3,
    /// Of a version that this one does not know.
    Version = 4,
    /// Of neither a sync point nor a transaction.
    Kind = 5,
    /// Of another network.
    Network = 6,
    /// A change of members, keys or settings in it is none, or not signed by q of those before it.
    Committee = 7,
    /// Signed by more or fewer than q creators, or by others.
    Signers = 8,
    /// What is proved lies behind the checkpoint, or either one in another epoch.
    Place = 9,
    /// Of an unknown kind, with a change that is none, or proposed or approved by others than creators.
    SyncPoint = 10,
    /// No event of this network.
    Event = 11,
    /// The event does not hold the transaction.
    Payload = 12,
    /// What is proved does not lead to the order hash that was signed.
    Chain = 13,
    /// A signer did not sign the checkpoint.
    Signature = 14,
}

/// What a proof is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProofKind {
    /// A sync point.
    SyncPoint = 1,
    /// A transaction.
    Transaction = 2,
}

impl ProofKind {
    /// The kind with this number, None for one that this version does not know.
    #[must_use]
    pub const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::SyncPoint),
            2 => Some(Self::Transaction),
            _ => None,
        }
    }
}

/// A sync point as a proof shows it; which session goes on is not in its digest, so it is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvedSyncPoint<'a> {
    /// One of [`SyncPointKind`].
    pub kind: u8,
    /// Its number among the sync points, from 1.
    pub epoch_index: u64,
    /// 32 bytes; zeros: nobody had to ask.
    pub proposal: Digest,
    /// Creator; None: nobody had to ask.
    pub proposer: Option<u16>,
    /// Bit set over creators.
    pub approvals: Creators,
    /// Of a kind that changes something: what it changes from the next epoch on.
    pub change: &'a [u8],
    /// What its proposer attached.
    pub metadata: &'a [u8],
    /// 32 bytes.
    pub digest: Digest,
}

/// A transaction as a proof shows it, and the event that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvedTransaction<'a> {
    /// What was sent.
    pub transaction: &'a [u8],
    /// In the tree of its event's payload.
    pub depth: u8,
    /// On the way there, the lowest bit at the transaction: 0 left, 1 right.
    pub turns: u16,
    /// Of the event.
    pub creator: u16,
    /// Of the event.
    pub round: u64,
    /// ns, as the creator claims.
    pub created_at: u64,
    /// 32 bytes, of the event.
    pub digest: Digest,
}

/// One of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// A sync point.
    SyncPoint(ProvedSyncPoint<'a>),
    /// A transaction.
    Transaction(ProvedTransaction<'a>),
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved<'a> {
    /// The thing itself.
    pub what: What<'a>,
    /// Its place in the order, of the event for a transaction.
    pub index: u64,
    /// ns.
    pub consensus_at: u64,
    /// 32 bytes, after it.
    pub order_hash: Digest,
    /// The index up to which the order was signed.
    pub checkpoint: u64,
    /// 32 bytes, the order hash that was signed.
    pub checkpoint_hash: Digest,
    /// 32 bytes, of the application there; zeros: not attested.
    pub state_hash: Digest,
    /// Bit set over those who could sign.
    pub signers: Creators,
    /// The number of the epoch that it stands in.
    pub epoch: u16,
    /// Keys of the creators of that epoch.
    pub creators: Vec<[u8; PUBLIC_BYTES]>,
    /// The number of the epoch whose creators signed.
    pub checkpoint_epoch: u16,
    /// Keys of the creators of that one.
    pub voters: Vec<[u8; PUBLIC_BYTES]>,
}

/// What a proof proves by the first members of its network, and their committee, or why it proves nothing.
///
/// That the creator of an event signed it is not looked at: q peers vouch for the order hash, which comes from the
/// digest of the header. Those of them that do not lie have checked that signature, and that the payload fits (V1, V6).
///
/// # Errors
/// The first flaw; the order of the checks is that of the Python core.
pub fn check_proof<'a>(proof: &'a [u8], roster: Roster, committee: Committee) -> Result<Proved<'a>, Flaw> {
    require(proof.len() <= MAX_PROOF_BYTES, Flaw::Limit)?;
    let reader = &mut Reader { rest: proof };
    let (version, kind, network_id) = (reader.u16()?, reader.u8()?, reader.array()?);
    let (transitions, epoch) = (reader.u16()?, reader.u16()?);
    require(version == PROOF_VERSION, Flaw::Version)?;
    let kind = ProofKind::of(kind).ok_or(Flaw::Kind)?;
    require(network_id == committee.epoch_id, Flaw::Network)?;
    require(transitions <= MAX_TRANSITIONS, Flaw::Limit)?;
    require(epoch <= transitions, Flaw::Place)?;
    let epochs = Epochs::read(reader, transitions, roster, committee)?;
    let (there, signing) = (&epochs.committees[usize::from(epoch)], &epochs.committees[usize::from(transitions)]);
    let (checkpoint, checkpoint_hash, state_hash) = (reader.u64()?, reader.array()?, reader.array()?);
    let signers: Creators = Creators::from_le_bytes(reader.array()?);
    let is_quorum = signers.count_ones() as usize == signing.q; // Q3
    require(is_quorum && is_among(signers, signing), Flaw::Signers)?;
    let signatures = reader.take(signing.q * SIGNATURE_BYTES)?;
    let (index, consensus_at, before) = (reader.u64()?, reader.u64()?, reader.array()?);
    let count = checkpoint.checked_sub(index).ok_or(Flaw::Place)?;
    require(epochs.has(index, usize::from(epoch)) && epochs.can_sign(checkpoint), Flaw::Place)?;
    require(count <= MAX_PLACES as u64, Flaw::Limit)?;
    let (what, digest) = match kind {
        ProofKind::SyncPoint => read_sync_point(reader, there)?,
        ProofKind::Transaction => read_transaction(reader, there)?,
    };
    let later = reader.take(count as usize * LATER_BYTES)?;
    require(reader.rest.is_empty(), Flaw::Trailing)?;
    let order_hash = next_order_hash(&before, index, &digest, consensus_at);
    require(epochs.leads_through(index, &order_hash), Flaw::Chain)?;
    let mut reached = order_hash;
    let mut places = Reader { rest: later };
    for at in index..checkpoint {
        reached = next_order_hash(&reached, at + 1, &places.array()?, places.u64()?);
        require(epochs.leads_through(at + 1, &reached), Flaw::Chain)?;
    }
    require(reached == checkpoint_hash, Flaw::Chain)?; // O9
    let message = checkpoint_message(&signing.epoch_id, checkpoint, &checkpoint_hash, &state_hash);
    let creators = (0..signing.n).filter(|creator| signers >> creator & 1 == 1);
    for (creator, signature) in creators.zip(signatures.chunks(SIGNATURE_BYTES)) {
        require(signing.verify(creator, &message, signature), Flaw::Signature)?; // C2
    }
    Ok(Proved {
        what,
        index,
        consensus_at,
        order_hash,
        checkpoint,
        checkpoint_hash,
        state_hash,
        signers,
        epoch,
        creators: keys_of(there),
        checkpoint_epoch: transitions,
        voters: keys_of(signing),
    })
}

// -- private ------------------------------------------------------------------------------------------

/// Takes a proof apart from front to back.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or(Flaw::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Flaw::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Flaw> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Flaw> {
        self.array().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length, and so many bytes.
    fn sized(&mut self, limit: usize) -> Result<&'a [u8], Flaw> {
        let size = u32::from_le_bytes(self.array()?) as usize;
        require(size <= limit, Flaw::Limit)?;
        self.take(size)
    }
}

/// The committees of a network from the first one to that of the checkpoint, and what led from each to the next.
struct Epochs {
    committees: Vec<Committee>,
    /// Index -> the order hash there.
    fences: BTreeMap<u64, Digest>,
}

impl Epochs {
    fn read(reader: &mut Reader<'_>, count: u16, mut roster: Roster, committee: Committee) -> Result<Self, Flaw> {
        let mut epochs = Self { committees: vec![committee], fences: BTreeMap::new() };
        for _ in 0..count {
            roster = epochs.enter(reader.sized(MAX_TRANSITION_BYTES)?, &roster).ok_or(Flaw::Committee)?;
        }
        Ok(epochs)
    }

    /// Begin the next epoch; its roster.
    fn enter(&mut self, data: &[u8], roster: &Roster) -> Option<Roster> {
        let committee = self.committees.last()?;
        let (transition, end) = decode_transition(&Bytes::copy_from_slice(data), 0)?;
        let is_next = self.fences.last_key_value().is_none_or(|(&last, _)| transition.index > last);
        if end != data.len() || !is_next {
            return None;
        }
        let (after, epoch_id) = check_transition(&transition, roster, committee)?;
        self.fences.insert(transition.index, hashes_of(&transition).1);
        let entered = after.committee(epoch_id, committee.signatures).ok()?;
        self.committees.push(entered);
        Some(after)
    }

    /// Whether an index is one of an epoch: behind what began it, and not behind what ended it.
    fn has(&self, index: u64, epoch: usize) -> bool {
        let mut edges = self.fences.keys().skip(epoch.saturating_sub(1));
        let is_behind = epoch == 0 || edges.next().is_some_and(|&began| index > began);
        is_behind && edges.next().is_none_or(|&ended| index <= ended)
    }

    /// Whether the last committee can have signed at an index.
    ///
    /// It may be that of the sync point that began its epoch: what applications attest there comes that late.
    fn can_sign(&self, checkpoint: u64) -> bool {
        self.fences.last_key_value().is_none_or(|(&last, _)| checkpoint >= last)
    }

    /// Whether the order hash at an index is what those signed who changed the committee there, if any did.
    fn leads_through(&self, index: u64, reached: &Digest) -> bool {
        self.fences.get(&index).is_none_or(|signed| signed == reached)
    }
}

fn keys_of(committee: &Committee) -> Vec<[u8; PUBLIC_BYTES]> {
    committee.members.iter().map(|member| member.public).collect()
}

fn read_sync_point<'a>(reader: &mut Reader<'a>, committee: &Committee) -> Result<(What<'a>, Digest), Flaw> {
    let (kind, epoch_index, proposal, by) = (reader.u8()?, reader.u64()?, reader.array()?, reader.u16()?);
    let approvals = Creators::from_le_bytes(reader.array()?);
    let changed = if is_changing(kind) { 2 + MAX_CHANGE_BYTES } else { 0 };
    let content = reader.sized(MAX_METADATA_BYTES + changed)?;
    let (change, metadata) = decode_content(kind, content).ok_or(Flaw::SyncPoint)?;
    let proposer = (by != NOBODY).then_some(by);
    let is_known = (SyncPointKind::Session as u8..=SyncPointKind::End as u8).contains(&kind);
    let is_creator = proposer.is_none_or(|creator| usize::from(creator) < committee.n);
    require(is_known && is_creator && is_among(approvals, committee), Flaw::SyncPoint)?;
    require(!is_changing(kind) || decode_change(kind, change).is_some(), Flaw::SyncPoint)?;
    let digest = sync_point_digest(kind, epoch_index, &proposal, proposer, approvals, metadata, change);
    let point = ProvedSyncPoint { kind, epoch_index, proposal, proposer, approvals, change, metadata, digest };
    Ok((What::SyncPoint(point), digest))
}

fn read_transaction<'a>(reader: &mut Reader<'a>, committee: &Committee) -> Result<(What<'a>, Digest), Flaw> {
    let header = reader.sized(MAX_HEADER_BYTES)?;
    let (creator, round) = decode_header(header, &committee.epoch_id).map_err(|_| Flaw::Event)?;
    require(usize::from(creator) < committee.n, Flaw::Event)?;
    let (depth, turns) = (reader.u8()?, reader.u16()?);
    require(depth <= MAX_DEPTH, Flaw::Limit)?;
    let (path, _) = reader.take(usize::from(depth) * HASH_BYTES)?.as_chunks();
    let transaction = reader.sized(MAX_PAYLOAD_BYTES)?;
    // A root tells neither how many transactions there are nor which number one has: trees of different counts can have
    // the same way to a leaf (E3). So a proof claims the way alone, checked as in a tree that is full at this depth.
    let is_held = merkle_check(&payload_root_of(header), transaction, u64::from(turns), 1 << depth, path);
    require(is_held, Flaw::Payload)?;
    let (created_at, digest) = (created_at_of(header), event_digest(header));
    let found = ProvedTransaction { transaction, depth, turns, creator, round, created_at, digest };
    Ok((What::Transaction(found), digest))
}

/// Whether all of them are creators.
fn is_among(creators: Creators, committee: &Committee) -> bool {
    creators.checked_shr(committee.n as u32).is_none_or(|others| others == 0)
}

fn require(holds: bool, flaw: Flaw) -> Result<(), Flaw> {
    if holds { Ok(()) } else { Err(flaw) }
}

//! The link from one epoch to the next: the sync point between them, signed by the committee before it (C2).

use bytes::Bytes;

use crate::bits::{Creators, creators_in};
use crate::change::{MAX_CHANGE_BYTES, decode_change};
use crate::checkpoint::{Certificate, NOT_ATTESTED};
use crate::committee::Committee;
use crate::crypto::SIGNATURE_BYTES;
use crate::epoch::sync_point_digest;
use crate::items::{MAX_METADATA_BYTES, checkpoint_message};
use crate::order::next_order_hash;
use crate::roster::{Roster, next_epoch_id};
use crate::values::{Digest, SyncPoint};

const NOBODY: u16 = 0xFFFF;

/// A sync point that changed members, keys or settings, and q signatures for the order behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Of the sync point.
    pub kind: u8,
    /// Its number among the sync points, from 1.
    pub epoch_index: u64,
    /// The id of the proposal.
    pub proposal: Digest,
    /// Creator; None: nobody had to ask.
    pub proposer: Option<u16>,
    /// Bit set over creators.
    pub approvals: Creators,
    /// What it changes.
    pub change: Bytes,
    /// What its proposer attached.
    pub metadata: Bytes,
    /// In the order.
    pub index: u64,
    /// ns.
    pub consensus_at: u64,
    /// The order hash before it.
    pub before: Digest,
    /// Bit set over creators.
    pub signers: Creators,
    /// 64 bytes each, in creator order.
    pub signatures: Vec<u8>,
}

/// The transition of a sync point with the order hash before it, and its certificate.
#[must_use]
pub fn transition_of(point: &SyncPoint, before: Digest, certificate: Certificate) -> Transition {
    Transition {
        kind: point.kind,
        epoch_index: point.epoch_index,
        proposal: point.proposal,
        proposer: point.proposer,
        approvals: point.approvals,
        change: point.change.clone(),
        metadata: point.metadata.clone(),
        index: point.index,
        consensus_at: point.consensus_at,
        before,
        signers: certificate.signers,
        signatures: certificate.signatures,
    }
}

/// The bytes of a transition.
#[must_use]
pub fn encode_transition(transition: &Transition) -> Bytes {
    let size = |data: &Bytes| u16::try_from(data.len()).expect("at most MAX_METADATA_BYTES").to_le_bytes();
    let mut out = vec![transition.kind];
    out.extend(transition.epoch_index.to_le_bytes());
    out.extend(transition.proposal);
    out.extend(transition.proposer.unwrap_or(NOBODY).to_le_bytes());
    out.extend(transition.approvals.to_le_bytes());
    out.extend(size(&transition.change));
    out.extend(size(&transition.metadata));
    out.extend(transition.index.to_le_bytes());
    out.extend(transition.consensus_at.to_le_bytes());
    out.extend(transition.before);
    out.extend(transition.signers.to_le_bytes());
    out.extend(&transition.change);
    out.extend(&transition.metadata);
    out.extend(&transition.signatures);
    out.into()
}

/// A transition in bytes from a place on, and where it ends; None when there is none.
#[must_use]
pub fn decode_transition(data: &Bytes, at: usize) -> Option<(Transition, usize)> {
    let (kind, rest) = data.get(at..)?.split_first()?;
    let (epoch_index, rest) = rest.split_first_chunk()?;
    let (proposal, rest) = rest.split_first_chunk()?;
    let (by, rest) = rest.split_first_chunk()?;
    let (approvals, rest) = rest.split_first_chunk()?;
    let (changed, rest) = rest.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let (index, rest) = rest.split_first_chunk()?;
    let (consensus_at, rest) = rest.split_first_chunk()?;
    let (before, rest) = rest.split_first_chunk()?;
    let (signers, rest) = rest.split_first_chunk()?;
    let (changed, size) = (usize::from(u16::from_le_bytes(*changed)), usize::from(u16::from_le_bytes(*size)));
    if changed > MAX_CHANGE_BYTES || size > MAX_METADATA_BYTES {
        return None;
    }
    let (by, signers) = (u16::from_le_bytes(*by), Creators::from_le_bytes(*signers));
    let (change, rest) = rest.split_at_checked(changed)?;
    let (metadata, rest) = rest.split_at_checked(size)?;
    let (signatures, rest) = rest.split_at_checked(signers.count_ones() as usize * SIGNATURE_BYTES)?;
    let transition = Transition {
        kind: *kind,
        epoch_index: u64::from_le_bytes(*epoch_index),
        proposal: *proposal,
        proposer: (by != NOBODY).then_some(by),
        approvals: Creators::from_le_bytes(*approvals),
        change: data.slice_ref(change),
        metadata: data.slice_ref(metadata),
        index: u64::from_le_bytes(*index),
        consensus_at: u64::from_le_bytes(*consensus_at),
        before: *before,
        signers,
        signatures: signatures.to_vec(),
    };
    Some((transition, data.len() - rest.len()))
}

/// The digest of a transition's sync point, and the order hash after it.
#[must_use]
pub fn hashes_of(transition: &Transition) -> (Digest, Digest) {
    let digest = sync_point_digest(
        transition.kind,
        transition.epoch_index,
        &transition.proposal,
        transition.proposer,
        transition.approvals,
        &transition.metadata,
        &transition.change,
    );
    (digest, next_order_hash(&transition.before, transition.index, &digest, transition.consensus_at))
}

/// The roster and the id of the epoch that a transition leads to; None when it proves nothing (C2).
///
/// `roster` and `committee` are those of the epoch before it, whose members have to have signed.
#[must_use]
pub fn check_transition(transition: &Transition, roster: &Roster, committee: &Committee) -> Option<(Roster, Digest)> {
    let mut creators = creators_in(transition.signers);
    if transition.signers.count_ones() as usize != committee.q || creators.any(|creator| creator >= committee.n) {
        return None;
    }
    let after = roster.change(&decode_change(transition.kind, &transition.change)?)?;
    let (digest, order_hash) = hashes_of(transition);
    let message = checkpoint_message(&committee.epoch_id, transition.index, &order_hash, &NOT_ATTESTED);
    let mut signatures = transition.signatures.chunks(SIGNATURE_BYTES);
    for creator in creators_in(transition.signers) {
        if !committee.verify(creator, &message, signatures.next().unwrap_or(&[])) {
            return None;
        }
    }
    Some((after, next_epoch_id(&committee.epoch_id, &digest, &order_hash)))
}

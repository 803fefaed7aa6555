//! What a sync point changes in the network: its members, their keys, its settings; bytes to values and back (S4).

use crate::config::{Member, Network};
use crate::crypto::{PEER_RECORD_BYTES, PUBLIC_BYTES, check_peer_record};
use crate::values::SyncPointKind;

/// They end the epoch (S4); others do not (S3).
pub const CHANGING: [SyncPointKind; 3] = [SyncPointKind::Membership, SyncPointKind::KeyRotation, SyncPointKind::Config];
/// Of a change.
pub const MAX_CHANGE_BYTES: usize = 512;
/// Of where a new member is to be found.
pub const MAX_CONTACT_BYTES: usize = 255;

const ADD: u8 = 1;
const REMOVE: u8 = 2;
const MEMBERSHIP: u8 = SyncPointKind::Membership as u8;
const KEY_ROTATION: u8 = SyncPointKind::KeyRotation as u8;
const CONFIG: u8 = SyncPointKind::Config as u8;

/// A new member (MEMBERSHIP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Its peer record: the key, and the proof that somebody holds it.
    pub record: [u8; PEER_RECORD_BYTES],
    /// Its capabilities, as in [`Member::flags`].
    pub flags: u8,
    /// Where it is to be found, in words of the runtime.
    pub contact: Vec<u8>,
}

impl Add {
    /// The member as the committee will know it.
    #[must_use]
    pub fn member(&self) -> Member {
        Member { public: key_of(&self.record), flags: self.flags }
    }
}

/// A member less (MEMBERSHIP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remove {
    /// Its key.
    pub public: [u8; PUBLIC_BYTES],
}

/// A new key for a member, which asks for it itself (KEY_ROTATION).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// The key that it has.
    pub old: [u8; PUBLIC_BYTES],
    /// The peer record of the new key.
    pub record: [u8; PEER_RECORD_BYTES],
}

impl Rotate {
    /// The new key.
    #[must_use]
    #[allow(clippy::new_ret_no_self, clippy::wrong_self_convention)] // it is called so in Python
    pub fn new(&self) -> [u8; PUBLIC_BYTES] {
        key_of(&self.record)
    }
}

/// Other settings (CONFIG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configure {
    /// All of them.
    pub network: Network,
}

/// What a sync point changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new member.
    Add(Add),
    /// A member less.
    Remove(Remove),
    /// A new key for a member.
    Rotate(Rotate),
    /// Other settings.
    Configure(Configure),
}

/// The bytes of a change.
#[must_use]
pub fn encode_change(change: &Change) -> Vec<u8> {
    match change {
        Change::Add(add) => {
            let size = u8::try_from(add.contact.len()).expect("at most MAX_CONTACT_BYTES");
            [&[ADD], &add.record[..], &[add.flags, size], &add.contact].concat()
        }
        Change::Remove(remove) => [&[REMOVE], &remove.public[..]].concat(),
        Change::Rotate(rotate) => [&rotate.old[..], &rotate.record].concat(),
        Change::Configure(configure) => configure.network.encode(),
    }
}

/// The change of a sync point of this kind, None when it is none; new keys are good ones.
#[must_use]
pub fn decode_change(kind: u8, body: &[u8]) -> Option<Change> {
    match kind {
        KEY_ROTATION => {
            let (old, record) = body.split_first_chunk()?;
            let rotate = Rotate { old: *old, record: record.try_into().ok()? };
            check_peer_record(&rotate.record).map(|_| Change::Rotate(rotate))
        }
        CONFIG => Network::decode(body).map(|network| Change::Configure(Configure { network })),
        MEMBERSHIP => decode_membership(body),
        _ => None,
    }
}

fn decode_membership(body: &[u8]) -> Option<Change> {
    let (&what, body) = body.split_first()?;
    if what == REMOVE {
        return Some(Change::Remove(Remove { public: body.try_into().ok()? }));
    }
    let (record, rest) = body.split_first_chunk()?;
    let (&[flags, size], contact) = rest.split_first_chunk()?;
    if what != ADD || contact.len() != usize::from(size) {
        return None;
    }
    check_peer_record(record)?;
    Some(Change::Add(Add { record: *record, flags, contact: contact.to_vec() }))
}

fn key_of(record: &[u8; PEER_RECORD_BYTES]) -> [u8; PUBLIC_BYTES] {
    *record.first_chunk().expect("a record starts with its key")
}

const _: () = assert!(MAX_CONTACT_BYTES == u8::MAX as usize);

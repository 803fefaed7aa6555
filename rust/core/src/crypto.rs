//! Hashes, keys, signatures and Merkle trees: rule SP.
//!
//! Two cores that disagree about one signature split the network, so this module accepts exactly what rule SP
//! accepts: a key is admitted once, by [`admit`], and a signature is checked by [`verify`], which means something only
//! for an admitted key. There is no batch verification, no cofactored equation and no prehashing. What is signed
//! starts with a domain, so that no signature counts in two places.
//!
//! [`simulated_signature`] stands in for all of that in simulations; no setting leads to it.

use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};

use crate::config::Signatures;
use crate::error::Error;
use crate::values::Digest;

/// Which BLAKE3 is in use: here always the crate of that name.
pub const HASH_BACKEND: &str = "blake3";

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
/// Bytes of an Ed25519 secret.
pub const SEED_BYTES: usize = 32;
/// Bytes of a public key.
pub const PUBLIC_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of a peer record: the key, then the signature.
pub const PEER_RECORD_BYTES: usize = PUBLIC_BYTES + SIGNATURE_BYTES;

/// What the id of an event, and the message that its creator signs, start with (E2).
pub const DOMAIN_EVENT: &[u8; 18] = b"syncpoint/event/v1";
/// What the message that a peer record signs starts with.
pub const DOMAIN_PEER: &[u8; 17] = b"syncpoint/peer/v1";
/// What a simulated signature is hashed with.
pub const DOMAIN_SIMULATED: &[u8; 22] = b"syncpoint/simulated/v1";

const IDENTITY: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};

const LEAF: u8 = 0;
const NODE: u8 = 1;
const EMPTY_ROOT: Digest = [0; HASH_BYTES];
const CHUNK: usize = 1024; // of BLAKE3: up to here one call over a copy is faster than a hasher

/// Return the 32-byte BLAKE3 hash of `data`.
///
/// ```
/// assert_eq!(syncpoint_core::crypto::blake3(b"")[..4], [0xaf, 0x13, 0x49, 0xb9]);
/// ```
#[must_use]
pub fn blake3(data: &[u8]) -> Digest {
    *blake3::hash(data).as_bytes()
}

/// Return the 32-byte public key of a 32-byte Ed25519 seed.
#[must_use]
pub fn derive(seed: &[u8; SEED_BYTES]) -> [u8; PUBLIC_BYTES] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// Signs with one key: the pair is computed once from the seed, never handed in in halves.
///
/// The secret is never shown by `Debug`, and overwritten when the signer is dropped.
pub struct Signer {
    pair: SigningKey,
    signatures: Signatures,
}

impl Signer {
    /// The signer of a 32-byte seed.
    #[must_use]
    pub fn new(seed: &[u8; SEED_BYTES], signatures: Signatures) -> Self {
        Self { pair: SigningKey::from_bytes(seed), signatures }
    }

    /// The public key, 32 bytes.
    #[must_use]
    pub fn public(&self) -> [u8; PUBLIC_BYTES] {
        self.pair.verifying_key().to_bytes()
    }

    /// Return the 64-byte signature of `message`, which starts with its domain.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        match self.signatures {
            Signatures::Ed25519 => self.pair.sign(message).to_bytes(),
            Signatures::Simulated => simulated_signature(&self.public(), message),
        }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Signer(public={})", hex(&self.public()))
    }
}

/// A public key that is decoded once; decoding it for every signature would add a fifth to what a check costs.
///
/// Any bytes make one. Of those that are no canonical encoding of a point, or that of one of small order, no signature
/// holds.
#[derive(Clone, Copy, Debug)]
pub struct PublicKey(Option<VerifyingKey>);

impl PublicKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(public: &[u8]) -> Self {
        let Ok(public) = <&[u8; PUBLIC_BYTES]>::try_from(public) else { return Self(None) };
        let key = VerifyingKey::from_bytes(public).ok();
        Self(key.filter(|key| is_canonical(key) && !key.is_weak()))
    }

    /// Tell whether `signature` is one of `message` by this key, under rule SP item 2.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let (Some(key), Ok(signature)) = (&self.0, <&[u8; SIGNATURE_BYTES]>::try_from(signature)) else {
            return false;
        };
        if signature[..32] == IDENTITY {
            return false;
        }
        // `verify`, not `verify_strict`: it refuses S >= L, computes SB - hA and compares its bytes with those of R.
        key.verify(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// Tell whether `signature` is one of `message` by `public`, under rule SP item 2.
///
/// `public` is an admitted key ([`admit`]); for any other the answer has no meaning. Wrong lengths are false; no bytes
/// make it panic. Who checks many signatures of one key uses [`PublicKey`].
#[must_use]
pub fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    PublicKey::new(public).verify(message, signature)
}

/// Return the 64 bytes that stand for a signature of `message` by `public` in a simulation.
///
/// Two hashes that anyone can compute: they prove nothing, and are for tests on virtual time only.
#[must_use]
pub fn simulated_signature(public: &[u8; PUBLIC_BYTES], message: &[u8]) -> [u8; SIGNATURE_BYTES] {
    const AT: usize = DOMAIN_SIMULATED.len();
    let mut prefix = [0; AT + 1 + PUBLIC_BYTES];
    prefix[..AT].copy_from_slice(DOMAIN_SIMULATED);
    prefix[AT + 1..].copy_from_slice(public);
    let mut signature = [0; SIGNATURE_BYTES];
    for (half, bytes) in signature.chunks_exact_mut(HASH_BYTES).enumerate() {
        prefix[AT] = half as u8;
        bytes.copy_from_slice(&hash_after(&prefix, message));
    }
    signature
}

/// Tell whether `public` may be a peer's key: the point checks of rule SP item 1.
///
/// True for 32 bytes that are the one canonical encoding of a point of the prime-order group other than the identity.
/// The proof of possession, the rest of the item, is [`check_peer_record`]'s.
#[must_use]
pub fn admit(public: &[u8]) -> bool {
    let Some(point) = CompressedEdwardsY::from_slice(public).ok().and_then(|bytes| bytes.decompress()) else {
        return false;
    };
    point.compress().as_bytes() == public && !point.is_small_order() && point.is_torsion_free()
}

/// Return the 96-byte record by which a key proves that someone holds it.
///
/// The 32-byte public key, then its 64-byte signature over `DOMAIN_PEER` and itself (rule SP item 1).
#[must_use]
pub fn peer_record(signer: &Signer) -> [u8; PEER_RECORD_BYTES] {
    let public = signer.public();
    let mut record = [0; PEER_RECORD_BYTES];
    record[..PUBLIC_BYTES].copy_from_slice(&public);
    record[PUBLIC_BYTES..].copy_from_slice(&signer.sign(&[DOMAIN_PEER, &public[..]].concat()));
    record
}

/// Return the public key of a peer record, or None if the record does not hold.
///
/// It holds if it has 96 bytes, the key is admitted and the key signed it (rule SP item 1).
#[must_use]
pub fn check_peer_record(record: &[u8]) -> Option<[u8; PUBLIC_BYTES]> {
    if record.len() != PEER_RECORD_BYTES {
        return None;
    }
    let (public, signature) = record.split_first_chunk::<PUBLIC_BYTES>()?;
    let holds = admit(public) && verify(public, &[DOMAIN_PEER, &public[..]].concat(), signature);
    holds.then_some(*public)
}

/// Return the 32-byte root of the binary Merkle tree over `leaves` (rule E3).
///
/// The tree has the shape of RFC 6962: the left part is the largest power of two below the count. Leaves and nodes are
/// hashed with different prefixes. No leaves give 32 zero bytes.
#[must_use]
pub fn merkle_root(leaves: impl IntoIterator<Item: AsRef<[u8]>>) -> Digest {
    // Full trees over the leaves so far, of 2^i leaves each where bit i of the count is set.
    let mut full = [EMPTY_ROOT; usize::BITS as usize];
    let mut count: usize = 0;
    for leaf in leaves {
        let mut node = hash_after(&[LEAF], leaf.as_ref());
        let complete = count.trailing_ones() as usize;
        for left in &full[..complete] {
            node = hash_node(left, &node);
        }
        full[complete] = node;
        count += 1;
    }
    // What is left at the end moves up unchanged until it meets a full tree at its left.
    let mut root = None;
    for (height, tree) in full.iter().enumerate() {
        if count >> height & 1 == 1 {
            root = Some(root.map_or(*tree, |right| hash_node(tree, &right)));
        }
    }
    root.unwrap_or(EMPTY_ROOT)
}

/// Return the hashes that lead from leaf `index` to the root, lowest first.
///
/// `index` runs from 0 to the number of leaves - 1. The path of a single leaf is empty; with n leaves it has at most
/// ceil(log2(n)) hashes.
///
/// # Errors
/// [`Error::Argument`] for an index that is no leaf.
pub fn merkle_path(leaves: &[impl AsRef<[u8]>], index: usize) -> Result<Vec<Digest>, Error> {
    if leaves.is_empty() {
        return Err(Error::Argument(format!("index {index} is no leaf of an empty tree; give at least one leaf")));
    }
    if index >= leaves.len() {
        let (count, last) = (leaves.len(), leaves.len() - 1);
        return Err(Error::Argument(format!("index {index} is no leaf of a tree of {count}; give one of 0 to {last}")));
    }
    let (mut path, mut index) = (Vec::new(), index);
    let mut level: Vec<Digest> = leaves.iter().map(|leaf| hash_after(&[LEAF], leaf.as_ref())).collect();
    while level.len() > 1 {
        path.extend(level.get(index ^ 1));
        level = level.chunks(2).map(level_above).collect();
        index >>= 1;
    }
    Ok(path)
}

/// Tell whether `path` proves that `leaf` is number `index` of the `count` leaves under `root`.
///
/// Never panics, whatever a peer sent: a wrong index, count, length or hash is false.
#[must_use]
pub fn merkle_check(root: &Digest, leaf: &[u8], index: u64, count: u64, path: &[Digest]) -> bool {
    if index >= count {
        return false;
    }
    let (mut index, mut count, mut steps) = (index, count, path.iter());
    let mut node = hash_after(&[LEAF], leaf);
    while count > 1 {
        // Otherwise the node is the odd one at the end and moves up unchanged.
        if index ^ 1 < count {
            let Some(sibling) = steps.next() else { return false };
            node = if index & 1 == 1 { hash_node(sibling, &node) } else { hash_node(&node, sibling) };
        }
        index >>= 1;
        count = count.div_ceil(2);
    }
    steps.next().is_none() && node == *root
}

/// The hash of `data` behind a prefix, both at most once copied.
pub(crate) fn hash_after(prefix: &[u8], data: &[u8]) -> Digest {
    let size = prefix.len() + data.len();
    if size <= CHUNK {
        let mut buffer = [0; CHUNK];
        buffer[..prefix.len()].copy_from_slice(prefix);
        buffer[prefix.len()..size].copy_from_slice(data);
        return blake3(&buffer[..size]);
    }
    *blake3::Hasher::new().update(prefix).update(data).finalize().as_bytes()
}

/// Whether the bytes are the one encoding of their point.
fn is_canonical(key: &VerifyingKey) -> bool {
    key.to_edwards().compress().as_bytes() == key.as_bytes()
}

fn hash_node(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [NODE; 1 + 2 * HASH_BYTES];
    bytes[1..=HASH_BYTES].copy_from_slice(left);
    bytes[1 + HASH_BYTES..].copy_from_slice(right);
    blake3(&bytes)
}

fn level_above(pair: &[Digest]) -> Digest {
    match pair {
        [left, right] => hash_node(left, right),
        [odd] => *odd,
        _ => unreachable!("chunks of two"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

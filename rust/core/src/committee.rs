//! Who decides, and how many of them it takes.

use crate::config::{MAX_PEERS, Member, Network, Signatures};
use crate::crypto::{PublicKey, blake3, simulated_signature};
use crate::error::Error;
use crate::values::Digest;

/// What the id of a genesis epoch is hashed with.
pub const DOMAIN_GENESIS: &[u8] = b"syncpoint/genesis/v1";
/// What the place of a round's primary is hashed with (D4).
pub const DOMAIN_SLOTS: &[u8] = b"syncpoint/slots/v1";

/// The peers of one epoch in creator order, and every threshold that follows from their number (Q1).
///
/// Observers are not among them: they are listed, and count nowhere (Q4).
#[derive(Clone, Debug)]
pub struct Committee {
    /// Peers.
    pub n: usize,
    /// Liars and crashes tolerated.
    pub f: usize,
    /// A quorum: n - f.
    pub q: usize,
    /// Peers that may be missing from a fast commit.
    pub p: usize,
    /// Votes for a fast commit (D7).
    pub fast: usize,
    /// Votes for a certificate (D2).
    pub qc: usize,
    /// Votes for plain evidence (D3).
    pub t_plain: usize,
    /// Votes for evidence against an exposed equivocator (D3).
    pub t_exposed: usize,
    /// The network and the committee in one hash (E1).
    pub epoch_id: Digest,
    /// In creator order; empty where nobody signs.
    pub members: Vec<Member>,
    /// Those that do not order, in the order of their numbers.
    pub observers: Vec<Member>,
    /// By what [`Committee::verify`] checks.
    pub signatures: Signatures,
    keys: Vec<PublicKey>, // those of the members, decoded; none where signatures are simulated
}

impl Committee {
    /// A committee of n.
    ///
    /// # Errors
    /// [`Error::Argument`] for an n or an f that cannot be.
    pub fn new(
        n: usize,
        f: Option<usize>,
        epoch_id: Digest,
        members: Vec<Member>,
        signatures: Signatures,
        observers: Vec<Member>,
    ) -> Result<Self, Error> {
        let peers = n + observers.len();
        if !(1..=MAX_PEERS).contains(&peers) {
            return Err(Error::Argument(format!("a committee of {peers} peers: 1 to {MAX_PEERS} are allowed")));
        }
        if n < 1 {
            let text = format!("none of {peers} peers takes part in ordering: leave out no_order for at least one");
            return Err(Error::Argument(text));
        }
        let most = (n - 1) / 3;
        let f = f.unwrap_or(most);
        if f > most {
            let text = format!("f = {f} liars among {n} peers that order: 0 to {most} can be tolerated");
            return Err(Error::Argument(text));
        }
        let p = if f == 0 { 0 } else { (n - 3 * f).div_ceil(2) };
        let qc = (n + f + 2) / 2;
        Ok(Self {
            n,
            f,
            q: n - f,
            p,
            fast: n - p,
            qc,
            t_plain: (n - 2 * f).saturating_sub(p).min(qc).max(1),
            t_exposed: f + p,
            epoch_id,
            keys: match signatures {
                Signatures::Ed25519 => members.iter().map(|member| PublicKey::new(&member.public)).collect(),
                Signatures::Simulated => Vec::new(),
            },
            members,
            observers,
            signatures,
        })
    }

    /// The first committee of a network; members count in the order of their keys, however they are given.
    ///
    /// Those that do not order are its observers, in the same order (Q4). The epoch id covers all.
    ///
    /// # Errors
    /// [`Error::Argument`] for the same key twice, or a number of members that cannot be.
    pub fn genesis(network: &Network, members: &[Member], signatures: Signatures) -> Result<Self, Error> {
        let mut ordered = members.to_vec();
        ordered.sort_unstable_by_key(|member| member.public);
        if ordered.windows(2).any(|pair| pair[0].public == pair[1].public) {
            return Err(Error::Argument("the same key twice in the committee: every peer has one vote (Q1)".into()));
        }
        let mut data = DOMAIN_GENESIS.to_vec();
        data.extend(network.encode());
        data.extend((ordered.len() as u16).to_le_bytes());
        for member in &ordered {
            data.extend(member.public);
            data.push(member.flags);
        }
        let (members, observers): (Vec<_>, Vec<_>) = ordered.into_iter().partition(Member::orders);
        Self::new(members.len(), network.f, blake3(&data), members, signatures, observers)
    }

    /// The number of the peer with a key, None when there is none: creator indices first, then observers (Q4).
    #[must_use]
    pub fn number(&self, public: &[u8; 32]) -> Option<usize> {
        self.members.iter().chain(&self.observers).position(|member| member.public == *public)
    }

    /// Tell whether `signature` is one of `message` by a creator.
    #[must_use]
    pub fn verify(&self, creator: usize, message: &[u8], signature: &[u8]) -> bool {
        match self.signatures {
            Signatures::Ed25519 => self.keys.get(creator).is_some_and(|key| key.verify(message, signature)),
            Signatures::Simulated => {
                let stands = |member: &Member| simulated_signature(&member.public, message)[..] == *signature;
                self.members.get(creator).is_some_and(stands)
            }
        }
    }

    /// The creator whose slot comes first in the round (D4).
    #[must_use]
    pub fn primary(&self, round: u64) -> usize {
        let mut data = [0; DOMAIN_SLOTS.len() + 32 + 8];
        data[..DOMAIN_SLOTS.len()].copy_from_slice(DOMAIN_SLOTS);
        data[DOMAIN_SLOTS.len()..DOMAIN_SLOTS.len() + 32].copy_from_slice(&self.epoch_id);
        data[DOMAIN_SLOTS.len() + 32..].copy_from_slice(&round.to_le_bytes());
        let seed = blake3(&data);
        let first = u64::from_le_bytes(seed[..8].try_into().expect("8 bytes"));
        (first % self.n as u64) as usize
    }

    /// The creators of a round, primary first, then in a circle (D4).
    pub fn slot_order(&self, round: u64) -> impl Iterator<Item = usize> + use<> {
        let (first, n) = (self.primary(round), self.n);
        (first..n).chain(0..first)
    }
}

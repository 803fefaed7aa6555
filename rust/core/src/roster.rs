//! Who is a member, under which number, and what becomes of that and of the settings by a change (S4, S7).

use std::collections::{BTreeMap, BTreeSet};

use crate::change::Change;
use crate::committee::Committee;
use crate::config::{MAX_PEERS, Member, Network, Signatures};
use crate::crypto::{PUBLIC_BYTES, blake3};
use crate::error::Error;
use crate::values::Digest;

/// What the id of an epoch after the first is hashed with.
pub const DOMAIN_EPOCH: &[u8] = b"syncpoint/epoch/v1";
/// The number of whoever is no member.
pub const NO_SEAT: usize = MAX_PEERS;

/// A member, and the number that it has as long as it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// At the seam.
    pub number: usize,
    /// Who has it.
    pub member: Member,
    /// Where it is to be found; empty of a first member.
    pub contact: Vec<u8>,
}

/// The members and settings of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// The settings.
    pub network: Network,
    /// By number, ascending.
    pub seats: Vec<Seat>,
    /// That was given to anybody.
    pub last_number: usize,
}

impl Roster {
    /// That of the first epoch: numbers in the order of keys, observers last (Q4).
    #[must_use]
    pub fn first(network: Network, members: &[Member]) -> Self {
        let mut ordered = members.to_vec();
        ordered.sort_by_key(|member| (!member.orders(), member.public));
        let seat = |(number, member)| Seat { number, member, contact: Vec::new() };
        let seats: Vec<Seat> = ordered.into_iter().enumerate().map(seat).collect();
        Self { network, last_number: seats.len().saturating_sub(1), seats }
    }

    /// The seat of the member with a key, None without one.
    #[must_use]
    pub fn seat_of(&self, public: &[u8; PUBLIC_BYTES]) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.member.public == *public)
    }

    /// The committee of an epoch with these members; creators are in the order of their keys.
    ///
    /// # Errors
    /// [`Error::Argument`] for members or settings that cannot be.
    pub fn committee(&self, epoch_id: Digest, signatures: Signatures) -> Result<Committee, Error> {
        let mut ordered: Vec<Member> = self.seats.iter().map(|seat| seat.member).collect();
        ordered.sort_by_key(|member| member.public);
        let (orders, observers): (Vec<_>, Vec<_>) = ordered.into_iter().partition(Member::orders);
        Committee::new(orders.len(), self.network.f, epoch_id, orders, signatures, observers)
    }

    /// The roster after a change; None where it does not apply (S7).
    #[must_use]
    pub fn change(&self, change: &Change) -> Option<Self> {
        let mut changed = self.changed(change)?;
        changed.seats.sort_by_key(|seat| seat.number);
        // Else nobody would order, or f liars are too many for so few.
        changed.committee([0; 32], Signatures::Ed25519).is_ok().then_some(changed)
    }

    fn changed(&self, change: &Change) -> Option<Self> {
        let mut changed = self.clone();
        match change {
            Change::Add(add) => {
                let member = add.member();
                if self.seat_of(&member.public).is_some() || self.seats.len() >= MAX_PEERS {
                    return None;
                }
                let number = self.next_number();
                changed.seats.push(Seat { number, member, contact: add.contact.clone() });
                changed.last_number = number;
            }
            Change::Remove(remove) => {
                changed.seats.retain(|seat| seat.member.public != remove.public);
                if changed.seats.len() == self.seats.len() {
                    return None;
                }
            }
            Change::Rotate(rotate) => {
                let new = rotate.new();
                let found = changed.seats.iter_mut().find(|seat| seat.member.public == rotate.old)?;
                if self.seat_of(&new).is_some() {
                    return None;
                }
                found.member.public = new;
            }
            Change::Configure(configure) => {
                let (network, fixed) = (&configure.network, &self.network);
                let is_fixed = network.name == fixed.name && network.max_payload_bytes == fixed.max_payload_bytes;
                if network == fixed || !is_fixed {
                    return None; // links depend on these two
                }
                changed.network = network.clone();
            }
        }
        Some(changed)
    }

    /// The first free one behind the last one: who left is known by its own until all others had their turn.
    fn next_number(&self) -> usize {
        let taken: BTreeSet<usize> = self.seats.iter().map(|seat| seat.number).collect();
        let mut numbers = (1..=MAX_PEERS).map(|turn| (self.last_number + turn) % MAX_PEERS);
        numbers.find(|number| !taken.contains(number)).expect("fewer than all are taken")
    }
}

/// Numbers at the seam and indices within an epoch: creators, then observers, then whoever is no member in it.
#[derive(Debug)]
pub struct Places {
    size: usize,
    indices: BTreeMap<usize, usize>,
    numbers: BTreeMap<usize, usize>,
}

impl Places {
    /// Those of an epoch.
    #[must_use]
    pub fn new(roster: &Roster, committee: &Committee) -> Self {
        let index_of = |seat: &Seat| committee.number(&seat.member.public).expect("the committee is of these members");
        let indices: BTreeMap<usize, usize> = roster.seats.iter().map(|seat| (seat.number, index_of(seat))).collect();
        Self {
            size: committee.members.len() + committee.observers.len(),
            numbers: indices.iter().map(|(&number, &index)| (index, number)).collect(),
            indices,
        }
    }

    /// The index of the peer with a number.
    #[must_use]
    pub fn index_of(&self, number: usize) -> usize {
        self.indices.get(&number).copied().unwrap_or(self.size + number)
    }

    /// The number of the peer with an index.
    #[must_use]
    pub fn number_of(&self, index: usize) -> usize {
        self.numbers.get(&index).copied().unwrap_or_else(|| index - self.size)
    }
}

/// The id of the epoch behind a sync point with this digest and the order hash after it (S4).
#[must_use]
pub fn next_epoch_id(epoch_id: &Digest, digest: &Digest, order_hash: &Digest) -> Digest {
    blake3(&[DOMAIN_EPOCH, epoch_id, digest, order_hash].concat())
}

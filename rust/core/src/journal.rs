//! The records that make a restart safe: what must be durable before it is acted upon (J1).

use bytes::Bytes;

use crate::bits::Creators;
use crate::config::{Member, Network};
use crate::items::{decode_content, encode_content};
use crate::roster::{Roster, Seat};
use crate::values::{Digest, SyncPoint};

/// So many heights an epoch has: more rounds than one ever makes.
pub const EPOCH_ROUNDS: u64 = 1 << 40;

/// The first byte of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordType {
    /// An [`OwnEvent`].
    OwnEvent = 1,
    /// A [`PeerEvent`].
    PeerEvent = 2,
    /// A [`Place`].
    Place = 3,
    /// An [`OwnDelivered`].
    OwnDelivered = 4,
    /// A [`State`].
    State = 5,
    /// A [`StoredSyncPoint`].
    SyncPoint = 6,
    /// An [`EpochStart`].
    Epoch = 7,
}

const COUNT_BYTES: usize = 4;
const POSITION_BYTES: usize = 8 + 4;
const NOBODY: u16 = 0xFFFF;

/// A transaction in an own event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Of the event.
    pub height: u64,
    /// Among the event's transactions, from 0.
    pub place: u32,
}

/// An event of ours that was signed, and what it took over from own events that will not be delivered (O11).
///
/// Both are one record: with one and without the other a restart would lose transactions, or send them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnEvent {
    /// In order.
    pub taken_over: Vec<Position>,
    /// Its EVENT frame.
    pub frame: Bytes,
}

/// An event that was accepted from another peer (J2); one of ours among them was made before a recovery (R2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEvent {
    /// Its EVENT frame.
    pub frame: Bytes,
}

/// Where the order stood when a round of the newest epoch had closed (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// That had closed.
    pub round: u64,
    /// Of the next delivered event.
    pub next_index: u64,
    /// ns, of the last one.
    pub consensus_at: u64,
    /// After the last one.
    pub order_hash: Digest,
}

/// Our event of this height was delivered before the place: what it carries is not to be queued again (O11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnDelivered {
    /// Of the event.
    pub of_height: u64,
}

/// The state of proposals and votes at the place (S1, R1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `Epoch::encode`.
    pub state: Bytes,
}

/// A sync point as a store keeps it, without its place in the order (J2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSyncPoint {
    /// One of the kinds of sync points.
    pub kind: u8,
    /// Its number among the sync points, from 1.
    pub epoch_index: u64,
    /// The id of the proposal; zeros: nobody had to ask.
    pub proposal: Digest,
    /// Creator; None: nobody had to ask.
    pub proposer: Option<u16>,
    /// Bit set over creators: who agreed.
    pub approvals: Creators,
    /// Of the session that goes on or starts there.
    pub session_id: Digest,
    /// What its proposer attached.
    pub metadata: Bytes,
    /// What it changes.
    pub change: Bytes,
}

/// Where an epoch after the first begins, and what it takes over (S4); nothing is signed in it before that is kept.
///
/// Rounds begin at 1 in every epoch. What has to rise for ever, in stores and in own events that take over
/// transactions, are heights ([`height`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// Of the epoch, from 1: the first one has number 0, and no record.
    pub number: u32,
    /// 32 bytes.
    pub epoch_id: Digest,
    /// Of what is delivered next.
    pub next_index: u64,
    /// ns, of the last that was delivered.
    pub consensus_at: u64,
    /// After that.
    pub order_hash: Digest,
    /// Members and settings.
    pub roster: Roster,
    /// In the epoch before: the highest round of each creator that we had.
    pub reached: Vec<u64>,
    /// Of proposals and votes, `Epoch::encode`.
    pub state: Bytes,
    /// How the committee before it vouches for it, `transition::encode_transition`.
    pub transition: Bytes,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// We signed an event.
    OwnEvent(OwnEvent),
    /// We accepted an event.
    PeerEvent(PeerEvent),
    /// The order stood somewhere.
    Place(Place),
    /// An event of ours was delivered.
    OwnDelivered(OwnDelivered),
    /// Proposals and votes stood somewhere.
    State(State),
    /// There was a sync point.
    SyncPoint(StoredSyncPoint),
    /// An epoch began.
    Epoch(EpochStart),
}

/// What rises from epoch to epoch, as rounds do within one; in the first epoch it is the round.
#[must_use]
pub fn height(epoch: u32, round: u64) -> u64 {
    u64::from(epoch) * EPOCH_ROUNDS + round
}

/// The record of an event that we have signed and will send.
#[must_use]
pub fn encode_own_event(frame: &[u8], taken_over: &[Position]) -> Bytes {
    let count = u32::try_from(taken_over.len()).expect("an event holds fewer transactions");
    let mut record = Vec::with_capacity(1 + COUNT_BYTES + taken_over.len() * POSITION_BYTES + frame.len());
    record.push(RecordType::OwnEvent as u8);
    record.extend(count.to_le_bytes());
    for position in taken_over {
        record.extend(position.height.to_le_bytes());
        record.extend(position.place.to_le_bytes());
    }
    record.extend(frame);
    record.into()
}

/// The record of an event that we have accepted.
#[must_use]
pub fn encode_peer_event(frame: &[u8]) -> Bytes {
    [&[RecordType::PeerEvent as u8], frame].concat().into()
}

/// The record of a place in the order.
#[must_use]
pub fn encode_place(place: &Place) -> Bytes {
    let mut record = vec![RecordType::Place as u8];
    for number in [place.round, place.next_index, place.consensus_at] {
        record.extend(number.to_le_bytes());
    }
    record.extend(place.order_hash);
    record.into()
}

/// The record of an own event's delivery.
#[must_use]
pub fn encode_own_delivered(height: u64) -> Bytes {
    [&[RecordType::OwnDelivered as u8], &height.to_le_bytes()[..]].concat().into()
}

/// The record of the state of proposals and votes.
#[must_use]
pub fn encode_state(state: &[u8]) -> Bytes {
    [&[RecordType::State as u8], state].concat().into()
}

/// The record of a sync point.
#[must_use]
pub fn encode_sync_point(point: &SyncPoint) -> Bytes {
    let mut record = vec![RecordType::SyncPoint as u8, point.kind];
    record.extend(point.epoch_index.to_le_bytes());
    record.extend(point.proposal);
    record.extend(point.proposer.unwrap_or(NOBODY).to_le_bytes());
    record.extend(point.approvals.to_le_bytes());
    record.extend(point.session_id);
    record.extend(encode_content(point.kind, &point.change, &point.metadata));
    record.into()
}

/// The record of an epoch's beginning.
#[must_use]
pub fn encode_epoch_start(start: &EpochStart) -> Bytes {
    let (network, seats) = (start.roster.network.encode(), &start.roster.seats);
    let mut record = vec![RecordType::Epoch as u8];
    record.extend(start.number.to_le_bytes());
    record.extend(start.epoch_id);
    record.extend(start.next_index.to_le_bytes());
    record.extend(start.consensus_at.to_le_bytes());
    record.extend(start.order_hash);
    for number in [start.roster.last_number, network.len(), seats.len(), start.reached.len()] {
        record.extend(short(number));
    }
    record.extend(u32::try_from(start.state.len()).expect("each creator has few proposals").to_le_bytes());
    record.extend(short(start.transition.len()));
    record.extend(network);
    for seat in seats {
        record.extend(short(seat.number));
        record.extend(seat.member.public);
        record.push(seat.member.flags);
        record.push(u8::try_from(seat.contact.len()).expect("a contact is short"));
        record.extend(&seat.contact);
    }
    record.extend(start.reached.iter().flat_map(|round| round.to_le_bytes()));
    record.extend(&start.state);
    record.extend(&start.transition);
    record.into()
}

/// What a record says, None when it is none: our own store contradicts itself.
#[must_use]
pub fn decode_record(record: &Bytes) -> Option<Record> {
    let (&kind, body) = record.split_first()?;
    match kind {
        1 => decode_own_event(record, body).map(Record::OwnEvent),
        2 => Some(Record::PeerEvent(PeerEvent { frame: record.slice_ref(body) })),
        3 => {
            let body: &[u8; 56] = body.try_into().ok()?;
            let number = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("8 bytes"));
            let order_hash = body[24..].try_into().expect("32 bytes");
            Some(Record::Place(Place { round: number(0), next_index: number(8), consensus_at: number(16), order_hash }))
        }
        4 => {
            let of_height = u64::from_le_bytes(body.try_into().ok()?);
            Some(Record::OwnDelivered(OwnDelivered { of_height }))
        }
        5 => Some(Record::State(State { state: record.slice_ref(body) })),
        6 => decode_sync_point(record, body).map(Record::SyncPoint),
        7 => decode_epoch_start(record, body).map(Record::Epoch),
        _ => None,
    }
}

fn decode_sync_point(record: &Bytes, body: &[u8]) -> Option<StoredSyncPoint> {
    let (kind, rest) = body.split_first()?;
    let (epoch_index, rest) = rest.split_first_chunk()?;
    let (proposal, rest) = rest.split_first_chunk()?;
    let (proposer, rest) = rest.split_first_chunk()?;
    let (approvals, rest) = rest.split_first_chunk()?;
    let (session_id, content) = rest.split_first_chunk()?;
    let (change, metadata) = decode_content(*kind, content)?;
    let proposer = u16::from_le_bytes(*proposer);
    Some(StoredSyncPoint {
        kind: *kind,
        epoch_index: u64::from_le_bytes(*epoch_index),
        proposal: *proposal,
        proposer: (proposer != NOBODY).then_some(proposer),
        approvals: Creators::from_le_bytes(*approvals),
        session_id: *session_id,
        metadata: record.slice_ref(metadata),
        change: record.slice_ref(change),
    })
}

fn decode_epoch_start(record: &Bytes, body: &[u8]) -> Option<EpochStart> {
    let (number, rest) = body.split_first_chunk()?;
    let (epoch_id, rest) = rest.split_first_chunk()?;
    let (next_index, rest) = rest.split_first_chunk()?;
    let (consensus_at, rest) = rest.split_first_chunk()?;
    let (order_hash, rest) = rest.split_first_chunk()?;
    let (last_number, rest) = rest.split_first_chunk()?;
    let (settings, rest) = rest.split_first_chunk()?;
    let (members, rest) = rest.split_first_chunk()?;
    let (creators, rest) = rest.split_first_chunk()?;
    let (state, rest) = rest.split_first_chunk()?;
    let (transition, rest) = rest.split_first_chunk()?;
    let (settings, mut rest) = rest.split_at_checked(u16::from_le_bytes(*settings).into())?;
    let network = Network::decode(settings)?;
    let mut seats = Vec::new();
    for _ in 0..u16::from_le_bytes(*members) {
        let (number, after) = rest.split_first_chunk()?;
        let (public, after) = after.split_first_chunk()?;
        let (&[flags, size], after) = after.split_first_chunk()?;
        let (contact, after) = after.split_at_checked(size.into())?;
        let member = Member { public: *public, flags };
        seats.push(Seat { number: u16::from_le_bytes(*number).into(), member, contact: contact.to_vec() });
        rest = after;
    }
    let (reached, rest) = rest.split_at_checked(8 * usize::from(u16::from_le_bytes(*creators)))?;
    let (state, rest) = rest.split_at_checked(u32::from_le_bytes(*state) as usize)?;
    if rest.len() != usize::from(u16::from_le_bytes(*transition)) {
        return None;
    }
    Some(EpochStart {
        number: u32::from_le_bytes(*number),
        epoch_id: *epoch_id,
        next_index: u64::from_le_bytes(*next_index),
        consensus_at: u64::from_le_bytes(*consensus_at),
        order_hash: *order_hash,
        roster: Roster { network, seats, last_number: u16::from_le_bytes(*last_number).into() },
        reached: reached.as_chunks().0.iter().map(|round| u64::from_le_bytes(*round)).collect(),
        state: record.slice_ref(state),
        transition: record.slice_ref(rest),
    })
}

fn decode_own_event(record: &Bytes, body: &[u8]) -> Option<OwnEvent> {
    let (count, rest) = body.split_first_chunk::<COUNT_BYTES>()?;
    let size = (u32::from_le_bytes(*count) as usize).checked_mul(POSITION_BYTES)?;
    let (positions, frame) = rest.split_at_checked(size)?;
    let taken_over = positions.as_chunks::<POSITION_BYTES>().0.iter().map(|position| {
        let (height, place) = position.split_first_chunk().expect("8 bytes of 12");
        Position {
            height: u64::from_le_bytes(*height),
            place: u32::from_le_bytes(place.try_into().expect("4 bytes of 12")),
        }
    });
    Some(OwnEvent { taken_over: taken_over.collect(), frame: record.slice_ref(frame) })
}

fn short(count: usize) -> [u8; 2] {
    u16::try_from(count).expect("counts and numbers are limited before").to_le_bytes()
}

//! The records that make a restart safe: what must be durable before it is acted upon (J1).

use bytes::Bytes;

/// The first byte of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordType {
    /// An [`OwnEvent`].
    OwnEvent = 1,
}

const COUNT_BYTES: usize = 4;
const POSITION_BYTES: usize = 8 + 4;

/// A transaction in an own event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Of the event.
    pub round: u64,
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

/// The record of an event that we have signed and will send.
#[must_use]
pub fn encode_own_event(frame: &[u8], taken_over: &[Position]) -> Bytes {
    let count = u32::try_from(taken_over.len()).expect("an event holds fewer transactions");
    let mut record = Vec::with_capacity(1 + COUNT_BYTES + taken_over.len() * POSITION_BYTES + frame.len());
    record.push(RecordType::OwnEvent as u8);
    record.extend(count.to_le_bytes());
    for position in taken_over {
        record.extend(position.round.to_le_bytes());
        record.extend(position.place.to_le_bytes());
    }
    record.extend(frame);
    record.into()
}

/// What a record says, None when it is none: our own store contradicts itself.
#[must_use]
pub fn decode_record(record: &Bytes) -> Option<OwnEvent> {
    let (&kind, rest) = record.split_first()?;
    let (count, rest) = rest.split_first_chunk::<COUNT_BYTES>()?;
    if kind != RecordType::OwnEvent as u8 {
        return None;
    }
    let size = (u32::from_le_bytes(*count) as usize).checked_mul(POSITION_BYTES)?;
    let (positions, frame) = rest.split_at_checked(size)?;
    let taken_over = positions.as_chunks::<POSITION_BYTES>().0.iter().map(|position| {
        let (round, place) = position.split_first_chunk().expect("8 bytes of 12");
        Position {
            round: u64::from_le_bytes(*round),
            place: u32::from_le_bytes(place.try_into().expect("4 bytes of 12")),
        }
    });
    Some(OwnEvent { taken_over: taken_over.collect(), frame: record.slice_ref(frame) })
}

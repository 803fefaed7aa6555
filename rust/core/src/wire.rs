//! Bytes to values and back: one encoding per value, little-endian, fixed widths (E4; docs/wire.md).
//!
//! Decoders take any bytes, never panic, and accept exactly what the encoders produce.

use bytes::Bytes;

use crate::config::{MAX_ITEM_BYTES, MAX_ITEMS, MAX_PEERS, MAX_TRANSACTIONS, Network, PROTOCOL_VERSION};
use crate::crypto::{DOMAIN_EVENT, hash_after, merkle_root};
use crate::error::Reject;
use crate::values::{Digest, Event, Item, Parent};

/// Digests in one request.
pub const MAX_REQUEST: usize = 256;
/// The highest round of an event.
pub const MAX_ROUND: u64 = 1 << 62;
/// ns since the Unix epoch: the year 2116, and room above it for `consensus_at`.
pub const MAX_TIME: u64 = 1 << 62;

/// The first byte of every frame; 1 to 15 belong to the link, the others to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// Who speaks, to whom, in which network.
    Hello = 1,
    /// Why no link comes about.
    Refuse = 2,
    /// An event.
    Event = 16,
    /// Digests of events that the sender wants.
    Request = 17,
    /// The sender's highest round per creator.
    Frontier = 18,
    /// The same, and: send me what lies above it.
    Pull = 19,
}

impl FrameType {
    /// The type of a frame that starts with this byte, None for one that this version does not know.
    #[must_use]
    pub const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Refuse,
            16 => Self::Event,
            17 => Self::Request,
            18 => Self::Frontier,
            19 => Self::Pull,
            _ => return None,
        })
    }
}

// The fixed part of a header, field by field: where each one starts, and where the last one ends.
const EPOCH: usize = 2;
const CREATOR: usize = EPOCH + 32;
const ROUND: usize = CREATOR + 2;
const CREATED_AT: usize = ROUND + 8;
const SALT: usize = CREATED_AT + 8;
const ROOT: usize = SALT + 8;
const PAYLOAD_LENGTH: usize = ROOT + 32;
const PARENT_COUNT: usize = PAYLOAD_LENGTH + 4;
const ITEM_COUNT: usize = PARENT_COUNT + 2;
const FIXED_BYTES: usize = ITEM_COUNT + 2;

const PARENT_BYTES: usize = 2 + 8 + 32;
const ITEM_BYTES: usize = 2 + 4; // of an item without its body
const LENGTH_BYTES: usize = 4;
const FRONTIER_BYTES: usize = 1 + 4; // type, epoch
const SIGNATURE_BYTES: usize = 64;

/// The bytes of a header (E1), which are what is hashed and signed (E2).
///
/// An own event is made in four steps: this, [`event_digest`], the signature over `DOMAIN_EVENT` and the digest, and
/// [`Event::new`]. At most `MAX_PEERS` parents, `MAX_ITEMS` items and `MAX_TRANSACTIONS` transactions.
#[must_use]
#[allow(clippy::too_many_arguments)]
pub fn encode_header(
    epoch_id: &Digest,
    creator: u16,
    round: u64,
    created_at: u64,
    salt: u64,
    parents: &[Parent],
    items: &[Item],
    transactions: &[impl AsRef<[u8]>],
) -> Vec<u8> {
    let item_bytes: usize = items.iter().map(|item| ITEM_BYTES + item.body.len()).sum();
    let mut header = Vec::with_capacity(FIXED_BYTES + parents.len() * PARENT_BYTES + item_bytes);
    header.extend(PROTOCOL_VERSION.to_le_bytes());
    header.extend(epoch_id);
    header.extend(creator.to_le_bytes());
    header.extend(round.to_le_bytes());
    header.extend(created_at.to_le_bytes());
    header.extend(salt.to_le_bytes());
    header.extend(merkle_root(transactions));
    header.extend(length(payload_length(transactions)));
    header.extend(count(parents.len()));
    header.extend(count(items.len()));
    for parent in parents {
        header.extend(parent.creator.to_le_bytes());
        header.extend(parent.round.to_le_bytes());
        header.extend(parent.digest);
    }
    for item in items {
        header.extend(item.r#type.to_le_bytes());
        header.extend(length(item.body.len()));
        header.extend(&item.body);
    }
    header
}

/// An EVENT frame.
#[must_use]
pub fn encode_event(header: &[u8], signature: &[u8; 64], transactions: &[impl AsRef<[u8]>]) -> Bytes {
    let size = 1 + header.len() + SIGNATURE_BYTES + payload_length(transactions);
    let mut frame = Vec::with_capacity(size);
    frame.push(FrameType::Event as u8);
    frame.extend(header);
    frame.extend(signature);
    for transaction in transactions {
        frame.extend(length(transaction.as_ref().len()));
        frame.extend(transaction.as_ref());
    }
    frame.into()
}

/// The event in an EVENT frame, if its bytes, version, epoch and payload are right (E4, V1, V6).
///
/// Nothing is copied: the event keeps the frame.
///
/// # Errors
/// The reason why it is none.
pub fn decode_event(frame: &Bytes, epoch_id: &Digest, network: &Network) -> Result<Event, Reject> {
    let fields = Fields::parse(frame, 1, epoch_id)?;
    if fields.payload_length > network.max_payload_bytes {
        return Err(Reject::Limit);
    }
    let body = fields.end + SIGNATURE_BYTES;
    check_length(frame.len(), body + fields.payload_length)?;
    let transaction_count = count_transactions(&frame[body..])?;
    let event = Event {
        creator: fields.creator,
        round: fields.round,
        created_at: fields.created_at,
        digest: event_digest(&frame[1..fields.end]),
        frame: as_event(frame),
        header_end: fields.end as u32,
        parent_count: fields.parent_count as u16,
        item_count: fields.item_count as u16,
        transaction_count,
    };
    if merkle_root(event.transactions()) != frame[1 + ROOT..1 + PAYLOAD_LENGTH] {
        return Err(Reject::Payload); // V6
    }
    Ok(event)
}

/// Creator and round of a header that stands alone, as in evidence.
///
/// # Errors
/// The reason why it is none.
pub fn decode_header(header: &[u8], epoch_id: &Digest) -> Result<(u16, u64), Reject> {
    let fields = Fields::parse(header, 0, epoch_id)?;
    if fields.end != header.len() {
        return Err(Reject::Trailing);
    }
    Ok((fields.creator, fields.round))
}

/// By what a store finds the event of an EVENT frame: epoch id, round, digest; None when its header is cut off.
#[must_use]
pub fn event_key(frame: &[u8]) -> Option<(Digest, u64, Digest)> {
    let fixed = frame.get(1..=FIXED_BYTES)?;
    let mut end = 1 + FIXED_BYTES + usize::from(u16_at(fixed, PARENT_COUNT)) * PARENT_BYTES;
    for _ in 0..u16_at(fixed, ITEM_COUNT) {
        let item = frame.get(end..)?.get(..ITEM_BYTES)?;
        end = end.checked_add(ITEM_BYTES)?.checked_add(u32_at(item, 2) as usize)?;
    }
    let header = frame.get(1..end)?;
    Some((epoch_id_of(header)?, u64_at(header, ROUND), event_digest(header)))
}

/// The id of the epoch of a header, whatever it is worth.
///
/// None where the header ends before it.
#[must_use]
pub fn epoch_id_of(header: &[u8]) -> Option<Digest> {
    header.get(EPOCH..)?.first_chunk().copied()
}

/// When its creator says that it made the event of such a header, in ns.
pub(crate) fn created_at_of(header: &[u8]) -> u64 {
    u64_at(header, CREATED_AT)
}

/// The payload root in such a header, 32 bytes (E3).
pub(crate) fn payload_root_of(header: &[u8]) -> Digest {
    header[ROOT..PAYLOAD_LENGTH].try_into().expect("32 bytes")
}

/// The id of an event (E2).
#[must_use]
pub fn event_digest(header: &[u8]) -> Digest {
    hash_after(DOMAIN_EVENT, header)
}

/// Bytes that transactions take in an event.
#[must_use]
pub fn payload_length(transactions: &[impl AsRef<[u8]>]) -> usize {
    transactions.iter().map(|transaction| LENGTH_BYTES + transaction.as_ref().len()).sum()
}

/// A REQUEST frame for at most `MAX_REQUEST` events.
#[must_use]
pub fn encode_request(digests: &[Digest]) -> Bytes {
    assert!((1..=MAX_REQUEST).contains(&digests.len()), "requests are split before");
    let mut frame = Vec::with_capacity(3 + 32 * digests.len());
    frame.push(FrameType::Request as u8);
    frame.extend(count(digests.len()));
    frame.extend(digests.as_flattened());
    frame.into()
}

/// The digests in a REQUEST frame.
///
/// # Errors
/// The reason why it is none.
pub fn decode_request(frame: &[u8]) -> Result<Vec<Digest>, Reject> {
    if frame.len() < 3 {
        return Err(Reject::Truncated);
    }
    let count = u16_at(frame, 1) as usize;
    if !(1..=MAX_REQUEST).contains(&count) {
        return Err(Reject::Limit);
    }
    check_length(frame.len(), 3 + 32 * count)?;
    Ok(frame[3..].as_chunks::<32>().0.to_vec())
}

/// A FRONTIER or PULL frame of the epoch with a number (F3).
#[must_use]
pub fn encode_frontier(r#type: FrameType, frontier: &[u64], epoch: u32) -> Bytes {
    let mut frame = Vec::with_capacity(FRONTIER_BYTES + 8 * frontier.len());
    frame.push(r#type as u8);
    frame.extend(epoch.to_le_bytes());
    frame.extend(frontier.iter().flat_map(|round| round.to_le_bytes()));
    frame.into()
}

/// The rounds in a FRONTIER or PULL frame of an epoch with n creators.
///
/// # Errors
/// The reason why it is none.
pub fn decode_frontier(frame: &[u8], n: usize) -> Result<Vec<u64>, Reject> {
    check_length(frame.len(), FRONTIER_BYTES + 8 * n)?;
    Ok(frame[FRONTIER_BYTES..].as_chunks::<8>().0.iter().map(|round| u64::from_le_bytes(*round)).collect())
}

/// The number of the epoch that a FRONTIER or PULL frame is about.
///
/// # Errors
/// [`Reject::Truncated`].
pub fn epoch_of_frontier(frame: &[u8]) -> Result<u32, Reject> {
    match frame.len().checked_sub(FRONTIER_BYTES) {
        Some(rounds) if rounds > 0 && rounds.is_multiple_of(8) => Ok(u32_at(frame, 1)),
        _ => Err(Reject::Truncated),
    }
}

/// The body of an EVIDENCE item: two signed headers of one slot (E5), the lower digest first.
#[must_use]
pub fn encode_evidence(first: &Event, second: &Event) -> Bytes {
    let pair = if second.digest < first.digest { [second, first] } else { [first, second] };
    let mut body = Vec::new();
    for event in pair {
        body.extend(length(event.header().len()));
        body.extend(event.header());
        body.extend(event.signature());
    }
    body.into()
}

/// A header and its signature.
pub type Signed<'a> = (&'a [u8], &'a [u8; 64]);

/// The two (header, signature) pairs of an EVIDENCE item.
///
/// # Errors
/// The reason why it is none.
pub fn decode_evidence(body: &[u8]) -> Result<[Signed<'_>; 2], Reject> {
    let (first, rest) = split_signed(body)?;
    let (second, rest) = split_signed(rest)?;
    if rest.is_empty() { Ok([first, second]) } else { Err(Reject::Trailing) }
}

/// The longest frame that peers of a committee of n may send each other (T2).
#[must_use]
pub fn max_frame_bytes(n: usize, network: &Network) -> usize {
    let header = FIXED_BYTES + n * PARENT_BYTES + MAX_ITEMS * ITEM_BYTES + MAX_ITEM_BYTES;
    1 + header + SIGNATURE_BYTES + network.max_payload_bytes
}

impl Event {
    /// An event of our own, from what [`encode_header`] made, its digest, and the signature.
    #[must_use]
    pub fn new(header: &[u8], digest: Digest, signature: &[u8; 64], transactions: &[impl AsRef<[u8]>]) -> Self {
        Self {
            creator: u16_at(header, CREATOR),
            round: u64_at(header, ROUND),
            created_at: u64_at(header, CREATED_AT),
            digest,
            frame: encode_event(header, signature, transactions),
            header_end: 1 + header.len() as u32,
            parent_count: u16_at(header, PARENT_COUNT),
            item_count: u16_at(header, ITEM_COUNT),
            transaction_count: transactions.len() as u32,
        }
    }

    /// An event that nobody signed, under a given id: for graphs that are given as data.
    #[must_use]
    pub fn from_document(
        digest: Digest,
        creator: u16,
        round: u64,
        created_at: u64,
        parents: &[Parent],
        items: &[Item],
        transactions: &[Bytes],
    ) -> Self {
        let header = encode_header(&[0; 32], creator, round, created_at, 0, parents, items, transactions);
        Self::new(&header, digest, &[0; SIGNATURE_BYTES], transactions)
    }

    /// In creator order.
    pub fn parents(&self) -> impl ExactSizeIterator<Item = Parent> + DoubleEndedIterator + Clone + '_ {
        self.frame[1 + FIXED_BYTES..self.items_start()].as_chunks::<PARENT_BYTES>().0.iter().map(|parent| Parent {
            creator: u16_at(parent, 0),
            round: u64_at(parent, 2),
            digest: *parent[10..].first_chunk().expect("32 bytes"),
        })
    }

    /// The attachments, which share the frame's memory.
    pub fn items(&self) -> impl ExactSizeIterator<Item = Item> + Clone + '_ {
        let mut at = self.items_start();
        (0..self.item_count).map(move |_| {
            let start = at + ITEM_BYTES;
            let end = start + u32_at(&self.frame, at + 2) as usize;
            let r#type = u16_at(&self.frame, at);
            at = end;
            Item { r#type, body: self.frame.slice(start..end) }
        })
    }

    /// The payload (E3); [`Event::share`] makes a transaction outlive the event.
    pub fn transactions(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone + '_ {
        let mut rest = &self.frame[self.header_end as usize + SIGNATURE_BYTES..];
        (0..self.transaction_count).map(move |_| {
            let (transaction, after) = rest[LENGTH_BYTES..].split_at(u32_at(rest, 0) as usize);
            rest = after;
            transaction
        })
    }

    /// The transaction at a place, counted from 0, None where there is none; it walks over those before it.
    #[must_use]
    pub fn transaction(&self, place: usize) -> Option<&[u8]> {
        self.transactions().nth(place)
    }

    /// A piece of this event's bytes, without copying it; the whole frame stays in memory as long as the piece does.
    #[must_use]
    pub fn share(&self, piece: &[u8]) -> Bytes {
        self.frame.slice_ref(piece)
    }

    fn items_start(&self) -> usize {
        1 + FIXED_BYTES + self.parent_count as usize * PARENT_BYTES
    }
}

/// The fields of a header, and where it ends.
struct Fields {
    creator: u16,
    round: u64,
    created_at: u64,
    payload_length: usize,
    parent_count: usize,
    item_count: usize,
    end: usize,
}

impl Fields {
    /// Of the header at `start`; the order of the checks is that of the Python core, as the first one gives the code.
    fn parse(data: &[u8], start: usize, epoch_id: &Digest) -> Result<Self, Reject> {
        let at = start + FIXED_BYTES;
        let fixed = data.get(start..at).ok_or(Reject::Truncated)?;
        if u16_at(fixed, 0) != PROTOCOL_VERSION {
            return Err(Reject::Version);
        }
        if fixed[EPOCH..CREATOR] != *epoch_id {
            return Err(Reject::Epoch);
        }
        let round = u64_at(fixed, ROUND);
        if !(1..=MAX_ROUND).contains(&round) {
            return Err(Reject::Round);
        }
        let created_at = u64_at(fixed, CREATED_AT);
        if created_at > MAX_TIME {
            return Err(Reject::Time);
        }
        let (parent_count, item_count) = (u16_at(fixed, PARENT_COUNT) as usize, u16_at(fixed, ITEM_COUNT) as usize);
        if parent_count > MAX_PEERS || item_count > MAX_ITEMS {
            return Err(Reject::Limit);
        }
        let items = data.get(at + parent_count * PARENT_BYTES..).ok_or(Reject::Truncated)?;
        Ok(Self {
            creator: u16_at(fixed, CREATOR),
            round,
            created_at,
            payload_length: u32_at(fixed, PAYLOAD_LENGTH) as usize,
            parent_count,
            item_count,
            end: data.len() - skip_items(items, item_count)?.len(),
        })
    }
}

/// What follows after so many items.
fn skip_items(mut data: &[u8], count: usize) -> Result<&[u8], Reject> {
    let mut room = MAX_ITEM_BYTES;
    for _ in 0..count {
        let Some((head, rest)) = data.split_first_chunk::<ITEM_BYTES>() else { return Err(Reject::Truncated) };
        let size = u32_at(head, 2) as usize;
        room = room.checked_sub(size).ok_or(Reject::Limit)?;
        data = rest.get(size..).ok_or(Reject::Truncated)?;
    }
    Ok(data)
}

/// How many transactions the payload has, if lengths and bytes fit.
fn count_transactions(mut payload: &[u8]) -> Result<u32, Reject> {
    let mut count = 0;
    while !payload.is_empty() {
        if count == MAX_TRANSACTIONS as u32 {
            return Err(Reject::Limit);
        }
        let Some((size, rest)) = payload.split_first_chunk::<LENGTH_BYTES>() else { return Err(Reject::Payload) };
        payload = rest.get(u32_at(size, 0) as usize..).ok_or(Reject::Payload)?;
        count += 1;
    }
    Ok(count)
}

/// The header and the signature that a body of evidence starts with, and what follows.
fn split_signed(data: &[u8]) -> Result<(Signed<'_>, &[u8]), Reject> {
    let Some((size, rest)) = data.split_first_chunk::<LENGTH_BYTES>() else { return Err(Reject::Truncated) };
    let Some((header, rest)) = rest.split_at_checked(u32_at(size, 0) as usize) else { return Err(Reject::Truncated) };
    let Some((signature, rest)) = rest.split_first_chunk::<SIGNATURE_BYTES>() else { return Err(Reject::Truncated) };
    Ok(((header, signature), rest))
}

fn check_length(is: usize, should: usize) -> Result<(), Reject> {
    match is.cmp(&should) {
        std::cmp::Ordering::Less => Err(Reject::Truncated),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Reject::Trailing),
    }
}

/// The frame with the type that it is decoded as; a journal's record may say another one, and that is not looked at.
fn as_event(frame: &Bytes) -> Bytes {
    if frame[0] == FrameType::Event as u8 {
        return frame.clone();
    }
    let mut copy = frame.to_vec();
    copy[0] = FrameType::Event as u8;
    copy.into()
}

fn count(count: usize) -> [u8; 2] {
    u16::try_from(count).expect("counts are limited before").to_le_bytes()
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("lengths are limited before").to_le_bytes()
}

// Each of these reads where the caller made sure that so many bytes are there.

fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*data[at..].first_chunk().expect("2 bytes"))
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*data[at..].first_chunk().expect("4 bytes"))
}

fn u64_at(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*data[at..].first_chunk().expect("8 bytes"))
}

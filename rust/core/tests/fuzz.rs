//! Nothing upsets the decoders, and what they take is what the encoders make of it, to the byte (E4, law L7).
//!
//! `SYNCPOINT_FRAMES` says how many frames are tried, `SYNCPOINT_SEED` where the randomness starts.

use bytes::Bytes;
use syncpoint_core::change::{Add, Change, Configure, Remove, Rotate, decode_change, encode_change};
use syncpoint_core::committee::Committee;
use syncpoint_core::config::{MAX_PEERS, Member, Network, Signatures};
use syncpoint_core::crypto::{DOMAIN_EVENT, Signer, merkle_root, peer_record};
use syncpoint_core::items::{
    CheckpointVote, Proposal, Vote, decode_checkpoint_vote, decode_proposal, decode_vote, encode_checkpoint_vote,
    encode_proposal, encode_vote,
};
use syncpoint_core::journal::{
    EpochStart, Position, Record, decode_record, encode_epoch_start, encode_own_delivered, encode_own_event,
    encode_peer_event, encode_place, encode_state, encode_sync_point,
};
use syncpoint_core::roster::Roster;
use syncpoint_core::transition::{Transition, decode_transition, encode_transition};
use syncpoint_core::values::{Event, Item, Parent, SyncPoint};
use syncpoint_core::verify::{check_evidence, check_form};
use syncpoint_core::wire::{self, FrameType};

const SALT: usize = 52; // in a header
const ROOT: usize = 60;
const LENGTH: usize = 92;
const HEADER_BYTES: usize = 100; // without parents and items

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// A number at whose neighbours mistakes are made.
    fn edge(&mut self) -> u64 {
        let near = 1_u64.checked_shl(self.below(65) as u32).unwrap_or(0);
        near.wrapping_add(self.below(3) as u64).wrapping_sub(1)
    }
}

/// Says how to run a failure again.
struct Replay {
    seed: u64,
    number: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("frame {} of SYNCPOINT_SEED={}", self.number, self.seed);
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

struct Peers {
    network: Network,
    committee: Committee,
    signers: Vec<Signer>,
}

impl Peers {
    fn new() -> Self {
        let network = Network { max_payload_bytes: 4096, ..Network::default() };
        let mut signers: Vec<Signer> = (0..4).map(|seed| Signer::new(&[seed; 32], Signatures::Ed25519)).collect();
        signers.sort_by_key(Signer::public);
        let members: Vec<Member> = signers.iter().map(|signer| Member { public: signer.public(), flags: 0 }).collect();
        let committee = Committee::genesis(&network, &members, Signatures::Ed25519).expect("different keys");
        Self { network, committee, signers }
    }

    fn event(&self, random: &mut Random, creator: u16, parents: usize, items: &[Item], payload: &[Vec<u8>]) -> Event {
        let parents: Vec<Parent> = (0..parents)
            .map(|creator| Parent { creator: creator as u16, round: 1, digest: [creator as u8; 32] })
            .collect();
        let round = if parents.is_empty() { 1 } else { 2 };
        let salt = random.next();
        let header = wire::encode_header(&self.committee.epoch_id, creator, round, 5, salt, &parents, items, payload);
        let digest = wire::event_digest(&header);
        let signature = self.signers[creator as usize].sign(&[&DOMAIN_EVENT[..], &digest].concat());
        Event::new(&header, digest, &signature, payload)
    }

    /// Valid frames of all kinds and shapes, and valid values of what has no frame of its own.
    fn valid(&self, random: &mut Random) -> Vec<Bytes> {
        let item = |r#type: u16, size: usize| Item { r#type, body: vec![7; size].into() };
        let none: &[Vec<u8>] = &[];
        let events = [
            self.event(random, 0, 0, &[], none),
            self.event(random, 0, 0, &[], &[b"one".to_vec()]),
            self.event(random, 1, 3, &[], &[b"one".to_vec(), vec![], b"three".to_vec()]),
            self.event(random, 2, 4, &[item(4, 40), item(900, 0)], &[vec![1; 50]]),
            self.event(random, 3, 4, &[item(1, 0), item(2, 1), item(3, 2)], &vec![vec![]; 20]),
            self.event(random, 3, MAX_PEERS, &[], none),
            self.event(random, 2, 0, &vec![item(5, 3); 64], none),
            self.event(random, 0, 4, &[item(8, 900)], &[vec![2; 900]]),
        ];
        let proof = wire::encode_evidence(&events[0], &events[1]);
        let taken_over = [Position { height: 7, place: 3 }, Position { height: 8, place: 0 }];
        let mut valid: Vec<Bytes> = events.iter().map(|event| event.frame().clone()).collect();
        valid.push(self.event(random, 1, 3, &[Item { r#type: 4, body: proof.clone() }], none).frame().clone());
        valid.push(wire::encode_request(&[[1; 32]]));
        valid.push(wire::encode_request(&[[1; 32], [2; 32], [3; 32]]));
        valid.push(wire::encode_request(&[[4; 32]; wire::MAX_REQUEST]));
        valid.push(wire::encode_frontier(FrameType::Frontier, &[0, 1, 1 << 62, u64::MAX], 0));
        valid.push(wire::encode_frontier(FrameType::Pull, &[0; 4], u32::MAX));
        valid.push(proof);
        let (metadata, change) = (Bytes::from_static(b"metadata"), Bytes::new());
        let proposal = Proposal { kind: 7, deadline: 1 << 60, salt: 3, metadata, change };
        let (order_hash, state_hash, signature) = ([5; 32], [0; 32], [6; 64]);
        valid.push(encode_proposal(&proposal));
        valid.extend(self.changes().into_iter().map(|(kind, change)| {
            encode_proposal(&Proposal { kind, change: encode_change(&change).into(), ..proposal.clone() })
        }));
        valid.extend(self.changes().iter().map(|(_, change)| encode_change(change).into()));
        valid.push(encode_epoch_start(&self.start()));
        valid.push(encode_transition(&some_transition()));
        valid.push(encode_vote(&Vote { proposal: [7; 32], approves: true }));
        valid.push(encode_checkpoint_vote(&CheckpointVote { index: 1 << 40, order_hash, state_hash, signature }));
        valid.push(encode_sync_point(&some_sync_point()));
        valid.push(encode_own_event(events[1].frame(), &taken_over));
        valid.push(Bytes::copy_from_slice(events[3].header()));
        valid
    }

    /// A change of each sort, and the kind of its sync point.
    fn changes(&self) -> [(u8, Change); 4] {
        let (record, public) = (peer_record(&self.signers[0]), self.signers[1].public());
        [
            (2, Change::Add(Add { record, flags: 9, contact: b"host:1".to_vec() })),
            (2, Change::Remove(Remove { public })),
            (3, Change::Rotate(Rotate { old: public, record })),
            (4, Change::Configure(Configure { network: self.network.clone() })),
        ]
    }

    /// How the second epoch begins, after one more was let in.
    fn start(&self) -> EpochStart {
        let [(_, add), ..] = self.changes();
        let roster = Roster::first(self.network.clone(), &self.committee.members[1..]);
        EpochStart {
            number: 1,
            epoch_id: [1; 32],
            next_index: 1 << 40,
            consensus_at: 1 << 60,
            order_hash: [2; 32],
            roster: roster.change(&add).expect("it is no member"),
            reached: vec![7, 0, 1 << 40],
            state: Bytes::from_static(b"state"),
            transition: encode_transition(&some_transition()),
        }
    }

    /// All decoders on the same bytes; what one takes, the encoder gives back. Whether any did.
    fn try_all(&self, data: &Bytes) -> bool {
        let mut taken = false;
        if let Ok(event) = wire::decode_event(data, &self.committee.epoch_id, &self.network) {
            taken |= data[0] == FrameType::Event as u8;
            self.check_event(&event, data);
        }
        if let Ok(digests) = wire::decode_request(data) {
            assert_eq!(wire::encode_request(&digests)[1..], data[1..]);
            taken |= data[0] == FrameType::Request as u8;
        }
        if let Ok(frontier) = wire::decode_frontier(data, self.committee.n)
            && let Some(kind @ (FrameType::Frontier | FrameType::Pull)) = FrameType::of(data[0])
        {
            let epoch = wire::epoch_of_frontier(data).expect("it is a frontier");
            assert_eq!(wire::encode_frontier(kind, &frontier, epoch), data);
            taken = true;
        }
        if let Ok([(first, first_signature), (second, second_signature)]) = wire::decode_evidence(data) {
            let part = |header: &[u8], signature: &[u8]| {
                [&(header.len() as u32).to_le_bytes()[..], header, signature].concat()
            };
            assert_eq!([part(first, first_signature), part(second, second_signature)].concat(), data[..]);
            assert!(check_evidence(data, &self.committee).is_none_or(|liar| liar < 4));
            taken = true;
        }
        if let Ok((creator, round)) = wire::decode_header(data, &self.committee.epoch_id) {
            assert_eq!(data[34..44], [&creator.to_le_bytes()[..], &round.to_le_bytes()[..]].concat());
            taken = true;
        }
        if let Some(record) = decode_record(data) {
            let encoded = match record {
                Record::OwnEvent(own) => encode_own_event(&own.frame, &own.taken_over),
                Record::PeerEvent(event) => encode_peer_event(&event.frame),
                Record::Place(place) => encode_place(&place),
                Record::OwnDelivered(done) => encode_own_delivered(done.of_height),
                Record::State(state) => encode_state(&state.state),
                Record::SyncPoint(point) => encode_sync_point(&SyncPoint {
                    kind: point.kind,
                    metadata: point.metadata,
                    proposal: point.proposal,
                    proposer: point.proposer,
                    approvals: point.approvals,
                    epoch_index: point.epoch_index,
                    session_id: point.session_id,
                    change: point.change,
                    ..some_sync_point()
                }),
                Record::Epoch(start) => encode_epoch_start(&start),
            };
            assert_eq!(encoded, data);
            taken = true;
        }
        if let Some((transition, end)) = decode_transition(data, 0) {
            assert_eq!(encode_transition(&transition), data[..end]);
            taken |= end == data.len();
        }
        for kind in 2..=4 {
            if let Some(change) = decode_change(kind, data) {
                assert_eq!(encode_change(&change), data[..]);
                taken = true;
            }
        }
        let _ = Self::try_items(data);
        taken
    }

    /// The same for bodies of items, which nearly any bytes are.
    fn try_items(data: &Bytes) -> bool {
        let proposal = decode_proposal(data).map(|proposal| encode_proposal(&proposal));
        let vote = decode_vote(data).map(|vote| encode_vote(&vote));
        let checkpoint = decode_checkpoint_vote(data).map(|vote| encode_checkpoint_vote(&vote));
        let taken: Vec<Bytes> = [proposal, vote, checkpoint].into_iter().flatten().collect();
        assert!(taken.iter().all(|encoded| encoded == data));
        !taken.is_empty()
    }

    fn check_event(&self, event: &Event, data: &[u8]) {
        let parents: Vec<Parent> = event.parents().collect();
        let items: Vec<Item> = event.items().collect();
        let payload: Vec<&[u8]> = event.transactions().collect();
        assert_eq!((parents.len(), payload.len()), (event.parent_count(), event.transaction_count()));
        let salt = u64::from_le_bytes(event.header()[SALT..SALT + 8].try_into().expect("8 bytes"));
        let (epoch_id, at) = (&self.committee.epoch_id, event.created_at);
        let header = wire::encode_header(epoch_id, event.creator, event.round, at, salt, &parents, &items, &payload);
        assert_eq!(header, event.header());
        assert_eq!(wire::encode_event(&header, event.signature(), &payload)[1..], data[1..]);
        assert_eq!(wire::event_digest(&header), event.digest);
        assert_eq!(wire::payload_length(&payload), data.len() - 65 - header.len());
        let _ = check_form(event, &self.committee, self.network.gc_depth);
        for item in items {
            let _ = wire::decode_evidence(&item.body);
        }
    }
}

fn some_sync_point() -> SyncPoint {
    SyncPoint {
        kind: 7,
        metadata: Bytes::from_static(b"metadata"),
        proposal: [1; 32],
        proposer: None,
        approvals: 5,
        epoch_index: 1 << 40,
        session_id: [2; 32],
        digest: [3; 32],
        index: 0,
        consensus_at: 0,
        order_hash: [4; 32],
        closed_by: 0,
        change: Bytes::new(),
        epoch: 0,
    }
}

fn some_transition() -> Transition {
    Transition {
        kind: 2,
        epoch_index: 1 << 40,
        proposal: [1; 32],
        proposer: Some(3),
        approvals: 7,
        change: Bytes::from_static(b"change"),
        metadata: Bytes::from_static(b"metadata"),
        index: 1 << 40,
        consensus_at: 1 << 60,
        before: [2; 32],
        signers: 11,
        signatures: vec![6; 3 * 64],
    }
}

/// A valid value with something changed.
fn change(random: &mut Random, valid: &[Bytes]) -> Vec<u8> {
    let mut data = random.pick(valid).to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(data.len());
        match random.below(10) {
            0 => data.truncate(at),
            1 => data.extend(random.bytes(at % 70)),
            2 | 3 if !data.is_empty() => data[at] ^= 1 << random.below(8),
            4 | 5 => {
                // A field: wherever one may be, as wide as one may be.
                let at = if random.below(2) == 0 { at } else { random.below(HEADER_BYTES + 9) };
                let (value, width) = (random.edge().to_le_bytes(), *random.pick(&[1, 2, 4, 8]));
                if let Some(field) = data.get_mut(at..at + width) {
                    field.copy_from_slice(&value[..width]);
                }
            }
            6 => drop(data.drain(at..(at + random.below(50)).min(data.len()))),
            7 => {
                let other = random.pick(valid);
                let from = random.below(other.len());
                data.truncate(at);
                data.extend(&other[from..]);
            }
            8 => data[at..].fill(random.next() as u8),
            _ => repair(&mut data, random),
        }
    }
    if random.below(4) == 0 {
        repair(&mut data, random);
    }
    data
}

/// Let the header's length and root fit whatever follows it, so that more than the root is tested.
fn repair(data: &mut [u8], random: &mut Random) {
    if data.len() < 1 + HEADER_BYTES + 64 {
        return;
    }
    let parents = u16::from_le_bytes([data[97], data[98]]) as usize;
    let mut at = 1 + HEADER_BYTES + 42 * parents;
    for _ in 0..u16::from_le_bytes([data[99], data[100]]) {
        let Some(size) = data.get(at + 2..at + 6) else { return };
        at += 6 + u32::from_le_bytes(size.try_into().expect("4 bytes")) as usize;
    }
    let Some(payload) = data.get(at + 64..) else { return };
    let (length, mut rest, mut leaves) = (payload.len() as u32, payload, Vec::new());
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let Some((leaf, after)) = after.split_at_checked(u32::from_le_bytes(*size) as usize) else { break };
        leaves.push(leaf);
        rest = after;
    }
    let root = merkle_root(&leaves);
    data[1 + LENGTH..1 + LENGTH + 4].copy_from_slice(&length.to_le_bytes());
    data[1 + ROOT..1 + ROOT + 32].copy_from_slice(&root);
    if random.below(8) == 0 {
        data[1 + SALT..1 + SALT + 8].copy_from_slice(&random.next().to_le_bytes());
    }
}

#[test]
fn no_bytes_upset_the_decoders() {
    let (seed, count) = (setting("SYNCPOINT_SEED", 1), setting("SYNCPOINT_FRAMES", 1_000_000));
    let peers = Peers::new();
    let valid = peers.valid(&mut Random(seed));
    assert!(valid.iter().all(|data| peers.try_all(data) || Peers::try_items(data)), "what is valid is taken");
    let mut taken = 0;
    for number in 0..count {
        let _replay = Replay { seed, number };
        let mut random = Random(seed ^ number.wrapping_mul(0xA076_1D64_78BD_642F));
        let data = match random.below(8) {
            0 => {
                let size = random.below(300);
                let mut data = random.bytes(size);
                if let Some(first) = data.first_mut() {
                    *first = *random.pick(&[0, 1, 16, 17, 18, 19]);
                }
                data
            }
            _ => change(&mut random, &valid),
        };
        taken += u64::from(peers.try_all(&data.into()));
    }
    println!("{taken} of {count} were taken");
    assert!(count < 1000 || (count / 50..count * 9 / 10).contains(&taken), "{taken} of {count}: tests too little");
}

#[test]
fn every_cut_and_every_flipped_bit_of_valid_frames() {
    let peers = Peers::new();
    for valid in peers.valid(&mut Random(2)) {
        for length in 0..valid.len() {
            let cut = valid.slice(..length);
            let is_record = [&valid, &cut].into_iter().any(|data| decode_record(data).is_some());
            assert!(!peers.try_all(&cut) || is_record, "cut to {length}: a frame's start is no frame");
        }
        for bit in 0..valid.len().min(400) * 8 {
            let mut data = valid.to_vec();
            data[bit / 8] ^= 1 << (bit % 8);
            peers.try_all(&data.into());
        }
    }
}

//! What both cores are tested with as data: `tests/core/test_data_files.py` reads the same files, and makes them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use syncpoint_core::change::{Add, Change, Configure, Remove, Rotate, decode_change, encode_change};
use syncpoint_core::committee::Committee;
use syncpoint_core::config::{Member, Network, SIGNATURES, Signatures};
use syncpoint_core::crypto::{
    self, DOMAIN_EVENT, PEER_RECORD_BYTES, PUBLIC_BYTES, PublicKey, Signer, admit, check_peer_record, derive,
    merkle_check, merkle_path, merkle_root, peer_record, simulated_signature,
};
use syncpoint_core::dag::{Dag, NodeRef};
use syncpoint_core::epoch::sync_point_digest;
use syncpoint_core::error::Reject;
use syncpoint_core::items;
use syncpoint_core::journal::{
    EpochStart, Position, Record, StoredSyncPoint, decode_record, encode_epoch_start, encode_own_delivered,
    encode_own_event, encode_peer_event, encode_place, encode_state, encode_sync_point,
};
use syncpoint_core::roster::{Roster, Seat};
use syncpoint_core::timer::{Advance, Timer};
use syncpoint_core::values::{Digest, Event, Item, Parent, SyncPoint};
use syncpoint_core::verify::{
    PARALLEL_SIGNATURES, check_ancestors, check_event, check_evidence, check_signature, check_signatures,
};
use syncpoint_core::wire::{self, FrameType};

/// The file under `tests/data`, which lies beside the crates.
fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn number(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.parse().unwrap_or_else(|_| panic!("no number: {text}")),
        _ => value.as_u64().unwrap_or_else(|| panic!("no number: {value}")),
    }
}

fn yes(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| panic!("neither true nor false: {value}"))
}

/// The bytes of hex in which `ab*3` is the byte three times, and pieces stand one after the other.
fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in text(value).split_whitespace() {
        let (digits, times) = piece.split_once('*').unwrap_or((piece, "1"));
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
        let data: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        out.extend(data.repeat(times.parse().expect("a number of times")));
    }
    out
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    let data = bytes(value);
    data[..].try_into().unwrap_or_else(|_| panic!("{} bytes, not {N}", data.len()))
}

fn hex(data: &[u8]) -> String {
    data.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes all");
        out
    })
}

/// The number of a refusal, 0 for a value.
fn code<T>(result: Result<T, Reject>) -> u64 {
    result.err().map_or(0, |reject| reject as u64)
}

fn committee_of(publics: &[Value], network: &Network) -> Committee {
    let members: Vec<Member> = publics.iter().map(|public| Member { public: array(public), flags: 0 }).collect();
    Committee::genesis(network, &members, Signatures::Ed25519).expect("different keys")
}

fn parents_in(dag: &Dag, event: &Event) -> Option<Vec<NodeRef>> {
    event.parents().map(|parent| dag.get(&parent.digest)).collect()
}

// -- keys, signatures, trees (SP 1, SP 2, E3) -------------------------------------------------------

#[test]
fn keys() {
    let file = load("crypto/keys.json");
    for each in list(&file["keys"]) {
        let public = bytes(&each["public"]);
        assert_eq!(admit(&public), yes(&each["admitted"]), "{each}");
    }
    for each in list(&file["signers"]) {
        let seed = array(&each["seed"]);
        let (signer, public) = (Signer::new(&seed, Signatures::Ed25519), bytes(&each["public"]));
        assert_eq!(signer.public()[..], public);
        assert_eq!(derive(&seed)[..], public);
        assert_eq!(hex(&signer.sign(&bytes(&each["message"]))), text(&each["signature"]));
        assert_eq!(check_peer_record(&peer_record(&signer)), Some(signer.public()));
        let shown = format!("{signer:?}");
        assert!(shown.contains(&hex(&public)) && !shown.contains(&hex(&seed)), "{shown}");
    }
    for each in list(&file["records"]) {
        let public = check_peer_record(&bytes(&each["record"]));
        assert_eq!(public.map(|public| hex(&public)).as_deref(), each["public"].as_str(), "{each}");
    }
}

#[test]
fn signatures() {
    let file = load("crypto/signatures.json");
    let mut accepted = std::collections::BTreeSet::new();
    for each in list(&file["signatures"]) {
        let [public, message, signature] = ["public", "message", "signature"].map(|name| bytes(&each[name]));
        let valid = yes(&each["valid"]);
        assert!(admit(&public));
        assert_eq!(crypto::verify(&public, &message, &signature), valid, "{each}");
        assert_eq!(PublicKey::new(&public).verify(&message, &signature), valid, "{each}");
        for length in [0, 31, 33] {
            let other = [&public[..], &public[..]].concat();
            assert!(!crypto::verify(&other[..length], &message, &signature));
        }
        if valid {
            accepted.insert(text(&each["kind"]));
        }
    }
    assert_eq!(accepted.into_iter().collect::<Vec<_>>(), ["honest", "own nonce"]);
}

#[test]
fn keys_that_are_none_verify_nothing() {
    for each in list(&load("crypto/keys.json")["keys"]) {
        if text(&each["kind"]) == "small order" {
            // With S = 1 and R = B the equation R = SB - hA holds whenever hA is the identity, which it often is.
            let key = PublicKey::new(&bytes(&each["public"]));
            let signature = [&[0x58][..], &[0x66; 31], &[1], &[0; 31]].concat();
            assert!((0..64_u8).all(|message| !key.verify(&[message], &signature)), "{each}");
        }
    }
}

#[test]
fn simulated_signatures() {
    let file = load("crypto/simulated.json");
    let seeds: Vec<[u8; 32]> = list(&file["seeds"]).iter().map(array).collect();
    let public = |creator: usize| Signer::new(&seeds[creator], Signatures::Simulated).public();
    for (creator, seed) in seeds.iter().enumerate() {
        assert_eq!(public(creator), derive(seed), "the keys are the real ones");
    }
    for each in list(&file["signers"]) {
        let (creator, message) = (number(&each["creator"]) as usize, bytes(&each["message"]));
        let signature = Signer::new(&seeds[creator], Signatures::Simulated).sign(&message);
        assert_eq!(hex(&signature), text(&each["signature"]), "{each}");
        assert_eq!(simulated_signature(&public(creator), &message), signature);
    }
    let members: Vec<Member> = (0..seeds.len()).map(|at| Member { public: public(at), flags: 0 }).collect();
    let committees = [Signatures::Ed25519, Signatures::Simulated]
        .map(|scheme| Committee::genesis(&Network::default(), &members, scheme).expect("different keys"));
    assert_eq!(committees[0].epoch_id, committees[1].epoch_id);
    for each in list(&file["judged"]) {
        let [message, signature] = ["message", "signature"].map(|name| bytes(&each[name]));
        let scheme = SIGNATURES.iter().position(|name| name == &text(&each["signatures"])).expect("a scheme");
        let valid = committees[scheme].verify(number(&each["creator"]) as usize, &message, &signature);
        assert_eq!(valid, yes(&each["valid"]), "{each}");
    }
    for committee in &committees {
        assert!(!committee.verify(seeds.len(), b"", &[0; 64]), "nobody");
    }
}

#[test]
fn trees() {
    let pattern = |length: usize| -> Vec<u8> { (0..length).map(|at| (at % 251) as u8).collect() };
    let file = load("crypto/trees.json");
    for each in list(&file["hashes"]) {
        assert_eq!(hex(&crypto::blake3(&pattern(number(&each[0]) as usize))), text(&each[1]));
    }
    for tree in list(&file["trees"]) {
        let (count, first) = (number(&tree["leaves"]) as usize, number(&tree["first"]) as usize);
        let mut leaves: Vec<Vec<u8>> = (0..count).map(|at| format!("transaction {at}").into_bytes()).collect();
        if first > 0 {
            leaves[0] = pattern(first);
        }
        let root = merkle_root(&leaves);
        assert_eq!(hex(&root), text(&tree["root"]), "{count} leaves");
        for (index, expected) in tree["paths"].as_object().expect("paths by index") {
            let index: usize = index.parse().expect("a number");
            let path = merkle_path(&leaves, index).expect("a leaf");
            let expected: Vec<&str> = list(expected).iter().map(text).collect();
            assert_eq!(path.iter().map(|hash| hex(hash)).collect::<Vec<_>>(), expected);
            assert!(merkle_check(&root, &leaves[index], index as u64, count as u64, &path));
        }
        assert!(merkle_path(&leaves, count).is_err());
    }
    for each in list(&file["proofs"]) {
        let path: Vec<Digest> = list(&each["path"]).iter().map(array).collect();
        let (index, count) = (number(&each["index"]), number(&each["count"]));
        let holds = merkle_check(&array(&each["root"]), &bytes(&each["leaf"]), index, count, &path);
        assert_eq!(holds, yes(&each["holds"]), "{each}");
    }
}

// -- frames (E1 to E5) ------------------------------------------------------------------------------

#[test]
fn the_example_of_the_document() {
    let file = load("wire/example.json");
    let signer = Signer::new(&array(&file["seed"]), Signatures::Ed25519);
    assert_eq!(hex(&signer.public()), text(&file["public"]));
    let name = text(&file["network"]["name"]).to_owned();
    let network = Network { name, f: Some(number(&file["network"]["f"]) as usize), ..Network::default() };
    assert_eq!(hex(&network.encode()), text(&file["network_encoding"]));
    let committee = committee_of(std::slice::from_ref(&file["public"]), &network);
    assert_eq!(hex(&committee.epoch_id), text(&file["epoch_id"]));

    let item = Item { r#type: number(&file["item"]["type"]) as u16, body: bytes(&file["item"]["body"]).into() };
    let transactions: Vec<Vec<u8>> = list(&file["transactions"]).iter().map(bytes).collect();
    let parent = Parent { creator: 0, round: 1, digest: array(&file["first_digest"]) };
    let [round, created_at, salt] = ["round", "created_at", "salt"].map(|name| number(&file[name]));
    let (parents, items) = ([parent], [item]);
    let header = wire::encode_header(&committee.epoch_id, 0, round, created_at, salt, &parents, &items, &transactions);
    let digest = wire::event_digest(&header);
    assert_eq!(hex(&digest), text(&file["digest"]));
    let signature = signer.sign(&[&DOMAIN_EVENT[..], &digest].concat());
    let made = Event::new(&header, digest, &signature, &transactions);
    assert_eq!(hex(made.frame()), text(&file["frame"]));

    let mut dag = Dag::new(1);
    for name in ["first_event", "frame"] {
        let frame: Bytes = bytes(&file[name]).into();
        let event = wire::decode_event(&frame, &committee.epoch_id, &network).expect("a valid frame");
        check_event(&event, &committee, network.gc_depth).expect("a valid event");
        let parents = parents_in(&dag, &event).expect("parents that are here");
        check_ancestors(&event, &parents, &dag, network.gc_depth).expect("valid ancestors");
        assert_eq!(event.frame().as_ptr(), frame.as_ptr(), "not copied");
        dag.insert(Arc::new(event), &parents);
    }
    let event = &dag.node(dag.get(&digest).expect("it was inserted")).event;
    for each in [event, &made] {
        assert_eq!((each.creator, each.round, each.created_at, each.digest), (0, round, created_at, digest));
        assert_eq!((each.header(), each.signature()), (&header[..], &signature));
        assert_eq!(each.parents().collect::<Vec<_>>(), parents);
        assert_eq!(each.items().collect::<Vec<_>>(), items);
        assert!(each.transactions().eq(transactions.iter().map(|each| &each[..])));
        assert_eq!(each.size(), each.frame().len() - 1);
        for (place, transaction) in transactions.iter().enumerate() {
            let shared = each.share(each.transaction(place).expect("a transaction"));
            assert_eq!(shared, transaction[..]);
            assert!(shared.is_empty() || each.frame().as_ptr_range().contains(&shared.as_ptr()));
        }
        assert_eq!(each.transaction(transactions.len()), None);
    }

    assert_eq!(hex(&wire::encode_request(&[parent.digest])), text(&file["request"]));
    assert_eq!(hex(&wire::encode_frontier(FrameType::Frontier, &[2], 0)), text(&file["frontier"]));
    assert_eq!(hex(&wire::encode_frontier(FrameType::Pull, &[1], 0)), text(&file["pull"]));
}

/// What a machine makes of a frame.
fn decode(frame: &Bytes, epoch_id: &Digest, network: &Network, n: usize) -> Result<(), Reject> {
    let kind = *frame.first().ok_or(Reject::FrameEmpty)?;
    match FrameType::of(kind) {
        Some(FrameType::Event) => wire::decode_event(frame, epoch_id, network).map(drop),
        Some(FrameType::Request) => wire::decode_request(frame).map(drop),
        Some(FrameType::Frontier | FrameType::Pull) => wire::decode_frontier(frame, n).map(drop),
        _ => Err(Reject::FrameType),
    }
}

#[test]
fn malformed_frames() {
    let file = load("wire/malformed.json");
    let max_payload_bytes = number(&file["max_payload_bytes"]) as usize;
    let network = Network { max_payload_bytes, ..Network::default() };
    let committee = committee_of(list(&file["members"]), &network);
    assert_eq!(hex(&committee.epoch_id), text(&file["epoch_id"]));
    let mut codes = std::collections::BTreeSet::new();
    for each in list(&file["frames"]) {
        let given = code(decode(&bytes(&each[1]).into(), &committee.epoch_id, &network, committee.n));
        assert_eq!(given, number(&each[2]), "{}", each[0]);
        codes.insert(given);
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 10, 11, 13, 18, 22]);
    for each in list(&file["headers"]) {
        assert_eq!(code(wire::decode_header(&bytes(&each[0]), &committee.epoch_id)), number(&each[1]), "{each}");
    }
    for each in list(&file["evidence"]) {
        let body = bytes(&each["body"]);
        assert_eq!(code(wire::decode_evidence(&body)), number(&each["code"]), "{each}");
        assert_eq!(check_evidence(&body, &committee).map(|liar| liar as u64), each["proves"].as_u64(), "{each}");
    }
}

#[test]
fn an_event_from_a_document() {
    let parents = [Parent { creator: 1, round: 4, digest: [5; 32] }, Parent { creator: 3, round: 2, digest: [6; 32] }];
    let items = [Item { r#type: 3, body: Bytes::from_static(b"vote") }];
    let whole = Event::from_document([8; 32], 1, 6, 78, &parents, &items, &[Bytes::from_static(b"tx")]);
    assert_eq!((whole.items().collect::<Vec<_>>(), whole.transaction(0)), (items.to_vec(), Some(&b"tx"[..])));
    let event = Event::from_document([9; 32], 2, 5, 77, &parents, &[], &[]);
    assert_eq!((event.creator, event.round, event.created_at, event.digest), (2, 5, 77, [9; 32]));
    assert_eq!(event.parents().collect::<Vec<_>>(), parents);
    assert_eq!(event.signature(), &[0; 64]);
    assert!(!event.carries() && event.items().len() == 0 && event.transactions().len() == 0);
    let again = wire::decode_event(event.frame(), &[0; 32], &Network::default()).expect("a valid frame");
    assert_eq!(again.frame(), event.frame());
}

// -- events and their ancestors (V1 to V8) ----------------------------------------------------------

#[test]
fn events() {
    for history in list(&load("verify/events.json")["histories"]) {
        let network = Network { gc_depth: 6, ..Network::default() };
        let committee = committee_of(list(&history["members"]), &network);
        let mut dag = Dag::new(committee.n);
        let mut decoded = Vec::new();
        for (at, step) in list(&history["steps"]).iter().enumerate() {
            let expected = |name: &str| step.get(name).map_or(0, number);
            let event = wire::decode_event(&bytes(&step["frame"]).into(), &committee.epoch_id, &network);
            assert_eq!(code(event.as_ref().map_err(|reject| *reject)), expected("decode"), "step {at}");
            let Ok(event) = event else { continue };
            decoded.push(event.clone());
            let alone = code(check_event(&event, &committee, network.gc_depth));
            assert_eq!(alone, expected("alone"), "step {at}");
            if alone != 0 {
                continue;
            }
            let parents = parents_in(&dag, &event);
            assert_eq!(parents.is_none(), step.get("missing").is_some(), "step {at}");
            let Some(parents) = parents else { continue };
            let ancestors = code(check_ancestors(&event, &parents, &dag, network.gc_depth));
            assert_eq!(ancestors, expected("ancestors"), "step {at}");
            if ancestors == 0 && !dag.contains(&event.digest) {
                dag.insert(Arc::new(event), &parents);
            }
        }
        // However many threads check them, the verdicts are the same and in order.
        let events: Vec<&Event> = decoded.iter().collect();
        let one_by_one: Vec<bool> = events.iter().map(|event| check_signature(event, &committee)).collect();
        for threads in [0, 1, 2, 3, 8, 1000] {
            assert_eq!(check_signatures(&events, &committee, threads), one_by_one, "{threads} threads");
        }
        for count in 0..3 * PARALLEL_SIGNATURES.min(events.len() / 3) {
            assert_eq!(check_signatures(&events[..count], &committee, 4), one_by_one[..count], "{count} events");
        }
    }
}

// -- items (E5) -----------------------------------------------------------------------------------

#[test]
fn items() {
    let all = load("wire/items.json");
    let epoch_id: Digest = array(&all["epoch_id"]);
    for each in list(&all["proposals"]) {
        let (body, said): (Bytes, _) = (bytes(&each[0]).into(), &each[1]);
        let made = items::decode_proposal(&body);
        assert_eq!(made.is_none(), said.is_null(), "{each}");
        let Some(made) = made else { continue };
        let numbers = [u64::from(made.kind), made.deadline, made.salt];
        assert_eq!(numbers, ["kind", "deadline", "salt"].map(|name| number(&said[name])));
        assert_eq!(made.metadata, bytes(&said["metadata"]));
        assert_eq!(made.change, said.get("change").map_or(Vec::new(), bytes));
        assert_eq!(items::encode_proposal(&made), body);
    }
    for each in list(&all["changes"]) {
        let (kind, body) = (u8::try_from(number(&each[0])).expect("u8"), bytes(&each[1]));
        let change = decode_change(kind, &body);
        assert_eq!(change.is_some(), yes(&each[2]), "{each}");
        assert!(change.is_none_or(|change| encode_change(&change) == body));
    }
    for each in list(&all["ids"]) {
        let creator = u16::try_from(number(&each[0])).expect("u16");
        assert_eq!(hex(&items::proposal_id(&epoch_id, creator, &bytes(&each[1]))), text(&each[2]));
    }
    for each in list(&all["votes"]) {
        let (body, said) = (bytes(&each[0]), &each[1]);
        let made = items::decode_vote(&body);
        assert_eq!(made.is_none(), said.is_null(), "{each}");
        let Some(made) = made else { continue };
        assert_eq!((hex(&made.proposal).as_str(), made.approves), (text(&said["proposal"]), yes(&said["approves"])));
        assert_eq!(items::encode_vote(&made), body);
    }
    for each in list(&all["checkpoints"]) {
        let (body, said) = (bytes(&each[0]), &each[1]);
        let made = items::decode_checkpoint_vote(&body);
        assert_eq!(made.is_none(), said.is_null(), "{each}");
        let Some(made) = made else { continue };
        assert_eq!(made.index, number(&said["index"]));
        assert_eq!(made.order_hash, array(&said["order_hash"]));
        assert_eq!(made.state_hash, array(&said["state_hash"]));
        assert_eq!(made.signature, array(&said["signature"]));
        let message = items::checkpoint_message(&epoch_id, made.index, &made.order_hash, &made.state_hash);
        assert_eq!(hex(&message), text(&said["message"]));
        assert_eq!(items::encode_checkpoint_vote(&made), body);
    }
    for each in list(&all["sync_points"]) {
        let kind = u8::try_from(number(&each[0])).expect("u8");
        let proposer = each[3].as_u64().map(|creator| u16::try_from(creator).expect("u16"));
        let (index, approvals) = (number(&each[1]), bits(&each[4]));
        let digest = sync_point_digest(kind, index, &array(&each[2]), proposer, approvals, &bytes(&each[5]), b"");
        assert_eq!(hex(&digest), text(&each[6]));
    }
}

// -- records and waits (J1, P3 to P5) ---------------------------------------------------------------

#[test]
fn journal() {
    for each in list(&load("journal/records.json")["records"]) {
        let record: Bytes = bytes(&each[0]).into();
        let said = &each[1];
        let encoded = match decode_record(&record) {
            None => {
                assert!(said.is_null(), "{each}");
                continue;
            }
            Some(Record::OwnEvent(own)) => {
                let position = |given: &Value| Position {
                    height: number(&given[0]),
                    place: u32::try_from(number(&given[1])).expect("u32"),
                };
                let expected: Vec<Position> = list(&said["taken_over"]).iter().map(position).collect();
                assert_eq!(
                    (own.taken_over.as_slice(), hex(&own.frame).as_str()),
                    (&expected[..], text(&said["frame"]))
                );
                encode_own_event(&own.frame, &own.taken_over)
            }
            Some(Record::PeerEvent(event)) => {
                assert_eq!((hex(&event.frame).as_str(), said.get("taken_over")), (text(&said["frame"]), None));
                encode_peer_event(&event.frame)
            }
            Some(Record::Place(place)) => {
                let expected = list(&said["place"]);
                assert_eq!(place.round, number(&expected[0]));
                assert_eq!(place.next_index, number(&expected[1]));
                assert_eq!(place.consensus_at, number(&expected[2]));
                assert_eq!(hex(&place.order_hash), text(&expected[3]));
                encode_place(&place)
            }
            Some(Record::OwnDelivered(done)) => {
                assert_eq!(done.of_height, number(&said["delivered"]));
                encode_own_delivered(done.of_height)
            }
            Some(Record::State(state)) => {
                assert_eq!(hex(&state.state), text(&said["state"]));
                encode_state(&state.state)
            }
            Some(Record::SyncPoint(point)) => {
                let expected = list(&said["sync_point"]);
                assert_eq!((u64::from(point.kind), point.epoch_index), (number(&expected[0]), number(&expected[1])));
                assert_eq!(point.proposer.map(u64::from), expected[2].as_u64());
                assert_eq!(point.approvals, bits(&expected[3]));
                let texts = [hex(&point.proposal), hex(&point.session_id), hex(&point.metadata)];
                assert_eq!(texts.each_ref().map(String::as_str), [4, 5, 6].map(|at| text(&expected[at])));
                assert_eq!(hex(&point.change), expected.get(7).map_or("", text));
                encode_sync_point(&placed(point))
            }
            Some(Record::Epoch(start)) => {
                compare_start(&start, &said["epoch"]);
                encode_epoch_start(&start)
            }
        };
        assert_eq!(encoded, record);
    }
}

fn compare_start(start: &EpochStart, said: &Value) {
    let numbers = [start.number.into(), start.next_index, start.consensus_at];
    assert_eq!(numbers.to_vec(), list(&said["numbers"]).iter().map(number).collect::<Vec<_>>());
    let texts = [&start.epoch_id[..], &start.order_hash, &start.state, &start.transition];
    assert_eq!(texts.to_vec(), list(&said["texts"]).iter().map(bytes).collect::<Vec<_>>());
    assert_eq!(start.roster.network.encode(), bytes(&said["network"]));
    let seat = |given: &Value| Seat {
        number: number(&given[0]) as usize,
        member: Member { public: array(&given[1]), flags: number(&given[2]) as u8 },
        contact: bytes(&given[3]),
    };
    assert_eq!(start.roster.seats, list(&said["seats"]).iter().map(seat).collect::<Vec<_>>());
    assert_eq!(start.roster.last_number as u64, number(&said["last_number"]));
    assert_eq!(start.reached, list(&said["reached"]).iter().map(number).collect::<Vec<_>>());
}

#[test]
fn rosters() {
    for run in list(&load("roster/changes.json")["runs"]) {
        let network = Network::decode(&bytes(&run["network"])).expect("settings");
        let member = |said: &Value| Member { public: key_of(&said[0]), flags: number(&said[1]) as u8 };
        let members: Vec<Member> = list(&run["members"]).iter().map(member).collect();
        let mut roster = Roster::first(network, &members);
        for (at, step) in list(&run["steps"]).iter().enumerate() {
            let (change, key) = change_of(step);
            let changed = roster.change(&change);
            assert_eq!(changed.is_none(), step[3].is_null(), "step {at}");
            if let Some(changed) = changed {
                let found = key.and_then(|key| changed.seat_of(&key)).map(|seat| seat.number);
                assert_eq!(changed.last_number as u64, number(&step[3][0]), "step {at}");
                assert_eq!(found.map(|number| number as u64), step[3][1].as_u64(), "step {at}");
                roster = changed;
            }
        }
        let seat = |said: &Value| Seat {
            number: number(&said[0]) as usize,
            member: Member { public: key_of(&said[1]), flags: number(&said[2]) as u8 },
            contact: bytes(&said[3]),
        };
        assert_eq!(roster.seats, list(&run["seats"]).iter().map(seat).collect::<Vec<_>>());
    }
}

/// A change of members or settings, and the new key in it.
fn change_of(step: &Value) -> (Change, Option<[u8; PUBLIC_BYTES]>) {
    let record = |of: &Value| {
        let mut record = [0; PEER_RECORD_BYTES];
        record[..PUBLIC_BYTES].copy_from_slice(&key_of(of));
        record
    };
    let (what, other) = (&step[1], &step[2]);
    match text(&step[0]) {
        "add" => {
            let (flags, contact) = (number(other) as u8, b"host:1".to_vec());
            (Change::Add(Add { record: record(what), flags, contact }), Some(key_of(what)))
        }
        "remove" => (Change::Remove(Remove { public: key_of(what) }), None),
        "rotate" => (Change::Rotate(Rotate { old: key_of(what), record: record(other) }), Some(key_of(other))),
        _ => {
            let network = Network::decode(&bytes(what)).expect("settings");
            (Change::Configure(Configure { network }), None)
        }
    }
}

/// The key that is one byte, 32 times.
fn key_of(byte: &Value) -> [u8; PUBLIC_BYTES] {
    [number(byte) as u8; PUBLIC_BYTES]
}

/// A sync point of a store, at some place.
fn placed(point: StoredSyncPoint) -> SyncPoint {
    SyncPoint {
        kind: point.kind,
        metadata: point.metadata,
        proposal: point.proposal,
        proposer: point.proposer,
        approvals: point.approvals,
        epoch_index: point.epoch_index,
        session_id: point.session_id,
        digest: [1; 32],
        index: 1,
        consensus_at: 1,
        order_hash: [1; 32],
        closed_by: 1,
        change: point.change,
        epoch: 0,
    }
}

/// A number in hex of up to 128 bits.
fn bits(value: &Value) -> u128 {
    u128::from_str_radix(&text(value)[2..], 16).expect("hex")
}

#[test]
fn waits() {
    for run in list(&load("timer/waits.json")["runs"]) {
        let committee = Committee::new(number(&run["n"]) as usize, None, [0; 32], vec![], Signatures::Ed25519, vec![])
            .expect("a committee");
        let mut timer = Timer::new(&committee, number(&run["own"]) as usize);
        for (at, step) in list(&run["steps"]).iter().enumerate() {
            let (call, now) = (text(&step[0]), number(&step[3]));
            let round = if call == "linked" { 1 } else { number(&step[1]) };
            match call {
                "linked" => timer.linked = bits(&step[1]),
                "accepted" => timer.accepted(round, number(&step[2]) as usize, now),
                "unsettled" => timer.unsettled(round),
                "prune" => timer.prune(round),
                _ => {
                    let by = match text(&step[2]) {
                        "settled" => Advance::Settled,
                        "timeout" => Advance::Timeout,
                        _ => Advance::Overtaken,
                    };
                    timer.advanced(round, by, now);
                }
            }
            let waits = [timer.soft_ns, timer.timeout_ns, timer.soft_until(round), timer.timeout_at(round)];
            let expected = list(&step[4]);
            assert_eq!(waits.to_vec(), expected[..4].iter().map(number).collect::<Vec<_>>(), "step {at}");
            assert_eq!((timer.timely, timer.timeouts), (bits(&expected[4]), number(&expected[5])), "step {at}");
        }
    }
}

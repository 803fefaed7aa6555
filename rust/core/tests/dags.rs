//! Deciding and ordering: the graphs and outcomes in `tests/data/dags`, which the Python core is tested by too.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use syncpoint_core::committee::Committee;
use syncpoint_core::config::{ORDERS, Order, RULES, Rule, Signatures};
use syncpoint_core::dag::Dag;
use syncpoint_core::decide::{Decider, Status};
use syncpoint_core::order::Orderer;
use syncpoint_core::values::{Digest, Event, Parent};

const KINDS: [(&str, usize); 3] = [("patterns", 22), ("random", 44), ("edges", 12)];
const BY_RULE: [Rule; 2] = [Rule::TwoStep, Rule::ThreeStep];
const BY_ORDER: [Order; 2] = [Order::Fair, Order::Fast];

#[test]
fn every_fixture_has_its_stored_outcome() {
    for (name, document) in fixtures() {
        assert_eq!(outcome(&document, false), document["outcome"], "{name}, the whole graph at once");
        assert_eq!(outcome(&document, true), document["outcome"], "{name}, event by event");
    }
}

fn fixtures() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (kind, count) in KINDS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/dags").join(kind);
        let files = std::fs::read_dir(folder).expect("the fixtures are in the tree");
        let before = found.len();
        for file in files {
            let path = file.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("a text");
            found.insert(path.display().to_string(), serde_json::from_str(&text).expect("JSON"));
        }
        assert_eq!(found.len() - before, count, "fixtures in {kind}");
    }
    found
}

/// What each rule and order make of a document, in the form in which the fixtures store it.
fn outcome(document: &Value, event_by_event: bool) -> Value {
    let mut by_rule = Map::new();
    for (rule, rule_name) in BY_RULE.into_iter().zip(RULES) {
        let mut by_order = Map::new();
        for (order, order_name) in BY_ORDER.into_iter().zip(ORDERS) {
            let (slots, batches) = run(document, rule, order, event_by_event);
            by_order.insert("slots".into(), slots);
            by_order.insert(order_name.into(), batches);
        }
        by_rule.insert(rule_name.into(), Value::Object(by_order));
    }
    Value::Object(by_rule)
}

fn run(document: &Value, rule: Rule, order: Order, event_by_event: bool) -> (Value, Value) {
    let n = document["n"].as_u64().expect("n") as usize;
    let f = document.get("f").and_then(Value::as_u64).map(|f| f as usize);
    let committee = Committee::new(n, f, digest(&document["epoch_id"]), Vec::new(), Signatures::Ed25519, Vec::new())
        .expect("a committee");
    let mut dag = Dag::new(n);
    let mut decider = Decider::new(committee.clone(), rule);
    let mut orderer = Orderer::new(committee, order, document["gc_depth"].as_u64().expect("gc_depth"), 0);
    let mut batches = Vec::new();
    for event in events(document) {
        let parents = dag.parents_of(&event).expect("parents come first");
        let at = dag.insert(Arc::new(event), &parents);
        orderer.accept(at, &dag);
        if event_by_event {
            decider.insert(at, &dag);
            close(&mut decider, &mut orderer, &dag, &mut batches);
        } else {
            decider.count(at, &dag);
        }
    }
    if !event_by_event {
        decider.decide(&dag);
        close(&mut decider, &mut orderer, &dag, &mut batches);
    }
    let mut slots = Map::new();
    for round in 1..=dag.top {
        for creator in 0..n {
            let status = match decider.status(round, creator) {
                Status::Committed(at) => hex(&dag.node(at).digest),
                Status::Skipped => "skip".into(),
                Status::Undecided => "undecided".into(),
            };
            slots.insert(format!("{round}/{creator}"), status.into());
        }
    }
    (Value::Object(slots), Value::Array(batches))
}

fn close(decider: &mut Decider, orderer: &mut Orderer, dag: &Dag, batches: &mut Vec<Value>) {
    for (round, committed) in decider.closing(dag) {
        let batch = orderer.close(round, &committed, dag);
        if !batch.is_empty() {
            let events: Vec<Value> =
                batch.iter().map(|done| json!([hex(&done.event.digest), done.consensus_at])).collect();
            batches.push(json!({ "round": round, "events": events }));
        }
    }
}

/// The events of a document in a causal order: by round, else as given.
fn events(document: &Value) -> Vec<Event> {
    let entries = document["events"].as_array().expect("events");
    let by_id: BTreeMap<&str, &Value> =
        entries.iter().map(|entry| (entry["id"].as_str().expect("id"), entry)).collect();
    let number = |entry: &Value, name: &str| entry[name].as_u64().expect("a number");
    let mut sorted: Vec<&Value> = entries.iter().collect();
    sorted.sort_by_key(|entry| number(entry, "round"));
    let event = |entry: &Value| {
        let parents: Vec<Parent> = entry["parents"]
            .as_array()
            .expect("parents")
            .iter()
            .map(|id| {
                let parent = by_id[id.as_str().expect("an id")];
                Parent { creator: number(parent, "creator") as u16, round: number(parent, "round"), digest: digest(id) }
            })
            .collect();
        let creator = number(entry, "creator") as u16;
        Event::from_document(
            digest(&entry["id"]),
            creator,
            number(entry, "round"),
            number(entry, "created_at"),
            &parents,
            &[],
            &[],
        )
    };
    sorted.into_iter().map(event).collect()
}

fn digest(hex: &Value) -> Digest {
    let text = hex.as_str().expect("hex digits");
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex digits");
    std::array::from_fn(byte)
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

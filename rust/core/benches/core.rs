//! What one event costs in each stage, by the number of peers: `cargo bench`.
//!
//! Times are per event. `benches/core.py` sets them beside the Python core's.

use std::sync::Arc;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use syncpoint_core::committee::Committee;
use syncpoint_core::config::{Member, Network, Signatures};
use syncpoint_core::crypto::{DOMAIN_EVENT, Signer, blake3};
use syncpoint_core::dag::Dag;
use syncpoint_core::decide::Decider;
use syncpoint_core::order::Orderer;
use syncpoint_core::values::{Event, Parent};
use syncpoint_core::{verify, wire};

const SIZES: [usize; 4] = [4, 10, 31, 100];
const GC_DEPTH: u64 = 50;

fn main() {
    divan::main();
}

/// Read an EVENT frame of 128 bytes of payload.
#[divan::bench(args = SIZES)]
fn decode(bencher: Bencher<'_, '_>, n: usize) {
    let peers = Peers::new(n);
    let frames = peers.frames();
    bencher.counter(ItemsCount::new(frames.len())).bench(|| {
        for frame in &frames {
            black_box(wire::decode_event(frame, &peers.committee.epoch_id, &peers.network)).expect("it is valid");
        }
    });
}

/// Check a signature.
#[divan::bench(args = [1, 2])]
fn verify_on_threads(bencher: Bencher<'_, '_>, threads: usize) {
    let peers = Peers::new(100);
    let events: Vec<Event> = peers.events();
    let events: Vec<&Event> = events.iter().collect();
    bencher
        .counter(ItemsCount::new(events.len()))
        .bench(|| black_box(verify::check_signatures(&events, &peers.committee, threads)));
}

/// Take 200 rounds of everybody's events into the graph, decide and order them.
#[divan::bench(args = SIZES)]
fn insert_decide_order(bencher: Bencher<'_, '_>, n: usize) {
    let peers = Peers::new(n);
    let events: Vec<Arc<Event>> = graph(n, 200).into_iter().map(Arc::new).collect();
    bencher.counter(ItemsCount::new(events.len())).bench(|| {
        let (mut dag, mut decider) = (Dag::new(n), Decider::new(peers.committee.clone(), peers.network.rule));
        let mut orderer = Orderer::new(peers.committee.clone(), peers.network.order, GC_DEPTH, 0);
        for event in &events {
            let parents = dag.parents_of(event).expect("they come first");
            let at = dag.insert(Arc::clone(event), &parents);
            orderer.accept(at, &dag);
            decider.insert(at, &dag);
            let closing = decider.closing(&dag);
            for (round, committed) in &closing {
                black_box(orderer.close(*round, committed, &dag));
            }
            if !closing.is_empty() {
                decider.prune(decider.closed);
                dag.prune(decider.closed.saturating_sub(2 * GC_DEPTH));
            }
        }
        assert!(orderer.index > events.len() as u64 * 9 / 10, "nearly all is delivered");
    });
}

/// A committee that can sign.
struct Peers {
    network: Network,
    committee: Committee,
    signers: Vec<Signer>,
}

impl Peers {
    fn new(n: usize) -> Self {
        let mut signers: Vec<Signer> =
            (0..n).map(|peer| Signer::new(&blake3(&[peer as u8]), Signatures::Ed25519)).collect();
        signers.sort_by_key(Signer::public);
        let members: Vec<Member> = signers.iter().map(|signer| Member { public: signer.public(), flags: 0 }).collect();
        let network = Network::default();
        let committee = Committee::genesis(&network, &members, Signatures::Ed25519).expect("a committee");
        Self { network, committee, signers }
    }

    /// One event of round 2 by each, with everybody's event of round 1 as parents.
    fn events(&self) -> Vec<Event> {
        let n = self.committee.n;
        let parents: Vec<Parent> =
            (0..n as u16).map(|creator| Parent { creator, round: 1, digest: blake3(&creator.to_le_bytes()) }).collect();
        let transactions = [[7; 128]];
        let event = |creator: usize| {
            let header =
                wire::encode_header(&self.committee.epoch_id, creator as u16, 2, 1, 0, &parents, &[], &transactions);
            let digest = wire::event_digest(&header);
            let signature = self.signers[creator].sign(&[&DOMAIN_EVENT[..], &digest].concat());
            Event::new(&header, digest, &signature, &transactions)
        };
        (0..n).map(event).collect()
    }

    fn frames(&self) -> Vec<Bytes> {
        self.events().iter().map(|event| event.frame().clone()).collect()
    }
}

/// Rounds in which everybody sees everything, as in a healthy network.
fn graph(n: usize, rounds: u64) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut parents: Vec<Parent> = Vec::new();
    for round in 1..=rounds {
        let mut row = Vec::new();
        for creator in 0..n as u16 {
            let digest = blake3(&[&round.to_le_bytes()[..], &creator.to_le_bytes()].concat());
            events.push(Event::from_document(
                digest,
                creator,
                round,
                round * 1000 + u64::from(creator),
                &parents,
                &[],
                &[],
            ));
            row.push(Parent { creator, round, digest });
        }
        parents = row;
    }
    events
}

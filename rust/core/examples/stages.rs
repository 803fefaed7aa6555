//! What the stages before the DAG cost: `cargo run --release --example stages`.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use syncpoint_core::committee::Committee;
use syncpoint_core::config::{Member, Network};
use syncpoint_core::crypto::{DOMAIN_EVENT, PublicKey, Signer, admit, merkle_root, verify};
use syncpoint_core::values::{Digest, Event, Parent};
use syncpoint_core::verify::{PARALLEL_SIGNATURES, check_signatures};
use syncpoint_core::wire::{decode_event, encode_header, event_digest};

/// The best of ten runs, in ns for one of `times`.
fn best(times: usize, mut run: impl FnMut()) -> f64 {
    let one = |()| {
        let start = Instant::now();
        (0..times).for_each(|_| run());
        start.elapsed().as_nanos() as f64 / times as f64
    };
    [(); 10].map(one).into_iter().fold(f64::INFINITY, f64::min)
}

fn make(signer: &Signer, epoch_id: &Digest, parents: &[Parent], transactions: &[Vec<u8>]) -> Event {
    let header = encode_header(epoch_id, 0, 2, 1, 1, parents, &[], transactions);
    let digest = event_digest(&header);
    Event::new(&header, digest, &signer.sign(&[&DOMAIN_EVENT[..], &digest].concat()), transactions)
}

fn main() {
    let network = Network::default();
    let signers: Vec<Signer> = (0..10).map(|seed| Signer::new(&[seed; 32])).collect();
    let members: Vec<Member> = signers.iter().map(|signer| Member { public: signer.public(), flags: 0 }).collect();
    let committee = Committee::genesis(&network, &members).expect("ten different keys");
    let signer = signers.iter().find(|signer| committee.index(&signer.public()) == Some(0)).expect("a member");
    let parents: Vec<Parent> = (0..10).map(|creator| Parent { creator, round: 1, digest: [7; 32] }).collect();

    for (count, size) in [(0, 0), (1, 64), (100, 64), (1000, 64), (1000, 512), (1, 1_000_000)] {
        let transactions = vec![vec![5_u8; size]; count];
        let event = make(signer, &committee.epoch_id, &parents, &transactions);
        let frame: Bytes = event.frame().clone();
        let ns = best(200, || {
            black_box(decode_event(black_box(&frame), &committee.epoch_id, &network).is_ok());
        });
        println!("decode, 10 parents, {count:>4} transactions of {size:>7} bytes: {:9.2} us", ns / 1e3);
    }
    let leaves = vec![vec![5_u8; 64]; 4096];
    let root = best(20, || {
        black_box(merkle_root(black_box(&leaves)));
    });
    println!("merkle root of 4096 leaves of 64 bytes: {:.1} us, {:.0} ns a leaf", root / 1e3, root / 4096.0);

    let event = make(signer, &committee.epoch_id, &parents, &[]);
    let message = [&DOMAIN_EVENT[..], &event.digest].concat();
    let key = PublicKey::new(&signer.public());
    println!("sign:                   {:6.2} us", best(500, || drop(black_box(signer.sign(&message)).to_vec())) / 1e3);
    println!("admit:                  {:6.2} us", best(100, || assert!(admit(&signer.public()))) / 1e3);
    let once = best(500, || assert!(verify(&signer.public(), &message, event.signature())));
    println!("verify, bytes of a key: {:6.2} us", once / 1e3);
    let prepared = best(500, || assert!(key.verify(&message, event.signature())));
    println!("verify, prepared key:   {:6.2} us, {:.0} /s", prepared / 1e3, 1e9 / prepared);

    for count in [2, 4, 6, PARALLEL_SIGNATURES, 12, 16, 32, 64, 256] {
        let events = vec![&event; count];
        let [one, two] = [1, 2].map(|threads| {
            best(20, || assert!(check_signatures(&events, &committee, threads).into_iter().all(|valid| valid)))
        });
        println!("{count:>4} signatures: {:8.1} us on one thread, {:8.1} us on two", one / 1e3, two / 1e3);
    }
}

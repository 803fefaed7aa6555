//! Deciding and ordering a DAG that is given as data, for tests and benches.

use std::sync::Arc;

use bytes::Bytes;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use syncpoint_core::committee::Committee;
use syncpoint_core::config::Signatures;
use syncpoint_core::dag::{Dag, NodeRef};
use syncpoint_core::decide::{Decider, Status};
use syncpoint_core::epoch::Epoch;
use syncpoint_core::error::Error;
use syncpoint_core::journal::{EpochStart, Record, decode_record};
use syncpoint_core::order::Orderer;
use syncpoint_core::values::{self, Digest, Item, Parent};

use crate::convert;
use crate::guard::{Failure, Guarded};
use crate::values::hex;
use crate::wire;

/// Rounds above the highest that an event may be; each takes memory.
const MAX_GAP: u64 = 100_000;

/// One DAG as it goes through dag, decide and order, event by event.
#[pyclass(frozen, module = "syncpoint._native")]
pub(crate) struct DagRun {
    run: Guarded<Run>,
}

struct Run {
    committee: Committee,
    gc_depth: u64,
    dag: Dag,
    decider: Decider,
    orderer: Orderer,
    epoch: Epoch,
    /// Rounds up to here have no slots any more.
    forgotten: u64,
}

/// An event as it is given.
struct Entry {
    digest: Digest,
    creator: u64,
    round: u64,
    created_at: u64,
    parents: Vec<Digest>,
    items: Vec<Item>,
    transactions: Vec<Bytes>,
}

/// A round that closed and what it delivered: digests and consensus times.
type Batch = (u64, Vec<(Digest, u64)>);

#[pymethods]
impl DagRun {
    #[new]
    #[pyo3(signature = (n, f, epoch_id, gc_depth, rule, order, epoch_ms = 0))]
    fn new(
        n: &Bound<'_, PyAny>,
        f: &Bound<'_, PyAny>,
        epoch_id: &Bound<'_, PyAny>,
        gc_depth: &Bound<'_, PyAny>,
        rule: &Bound<'_, PyAny>,
        order: &Bound<'_, PyAny>,
        epoch_ms: u32,
    ) -> PyResult<Self> {
        let committee = wire::plain(n, f, convert::digest("epoch_id", epoch_id)?)?;
        let gc_depth = convert::number("gc_depth", gc_depth, u64::from(u32::MAX))?;
        let run = Run {
            dag: Dag::new(committee.n),
            decider: Decider::new(committee.clone(), convert::rule(rule)?),
            orderer: Orderer::new(committee.clone(), convert::order(order)?, gc_depth, 0),
            epoch: Epoch::new(committee.clone(), u64::from(epoch_ms) * 1_000_000, None, 0, None),
            committee,
            gc_depth,
            forgotten: 0,
        };
        Ok(Self { run: Guarded::new("DagRun", run) })
    }

    /// One that goes on where an epoch begins, as its EPOCH record says, to the sync point that ends it (S4).
    ///
    /// A record with the number 0 and without a state begins the first epoch, whose id is `network_id`.
    #[staticmethod]
    fn begin(record: &Bound<'_, PyAny>, network_id: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = record.py();
        let bytes = convert::shared("the record", record)?;
        let Some(Record::Epoch(start)) = decode_record(&bytes) else {
            let text = format!("a record of {} bytes begins no epoch: give what encode_epoch_start gives", bytes.len());
            return Err(convert::argument_error(py, text));
        };
        let network_id = convert::digest("network_id", network_id)?;
        let run = Run::begin(start, network_id).map_err(|error| Failure::Core(error).raise(py))?;
        Ok(Self { run: Guarded::new("DagRun", run) })
    }

    /// Insert an event, and decide what it makes decidable; `parents` are digests of events that are here.
    #[pyo3(signature = (digest, creator, round, created_at, parents, items = None, transactions = None))]
    #[allow(clippy::too_many_arguments)] // of which the last two are mostly left out
    fn insert(
        &self,
        py: Python<'_>,
        digest: &Bound<'_, PyAny>,
        creator: &Bound<'_, PyAny>,
        round: &Bound<'_, PyAny>,
        created_at: &Bound<'_, PyAny>,
        parents: &Bound<'_, PyAny>,
        items: Option<&Bound<'_, PyAny>>,
        transactions: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let mut entry = Entry::extract(digest, creator, round, created_at, parents)?;
        entry.items = items.map_or(Ok(Vec::new()), convert::items)?;
        let shared = |values| convert::all_shared("a transaction", values);
        entry.transactions = transactions.map_or(Ok(Vec::new()), shared)?;
        self.add(py, vec![entry], true)
    }

    /// Insert an event like `insert`, but decide nothing yet.
    fn count(
        &self,
        py: Python<'_>,
        digest: &Bound<'_, PyAny>,
        creator: &Bound<'_, PyAny>,
        round: &Bound<'_, PyAny>,
        created_at: &Bound<'_, PyAny>,
        parents: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let entry = Entry::extract(digest, creator, round, created_at, parents)?;
        self.add(py, vec![entry], false)
    }

    /// `insert` for many (digest, creator, round, created_at, parents) at once; those before a wrong one are in.
    fn insert_all(&self, py: Python<'_>, events: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut entries = Vec::new();
        for event in events.try_iter()? {
            let [digest, creator, round, created_at, parents]: [Bound<'_, PyAny>; 5] = event?.extract()?;
            entries.push(Entry::extract(&digest, &creator, &round, &created_at, &parents)?);
        }
        self.add(py, entries, true)
    }

    /// Decide all that can be, for whoever counted a whole DAG before.
    fn decide(&self, py: Python<'_>) -> PyResult<()> {
        self.run.run(py, |run| {
            run.decider.decide(&run.dag);
            Ok(())
        })
    }

    /// Order all rounds that have closed since the last call: (round, [(digest, consensus_at), ...]) of each.
    ///
    /// Sync points are among what is ordered.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let batches = self.run.run(py, |run| Ok(run.close()))?;
        let list = PyList::empty(py);
        for (round, batch) in batches {
            let events = batch.iter().map(|(digest, consensus_at)| (PyBytes::new(py, digest), consensus_at));
            list.append((round, PyList::new(py, events)?))?;
        }
        Ok(list)
    }

    /// Every slot as "round/creator" and its status: an event's digest in hex, "skip" or "undecided".
    fn slots<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let slots = self.run.run(py, |run| Ok(run.slots()))?;
        let dict = PyDict::new(py);
        for (slot, status) in slots {
            dict.set_item(slot, status)?;
        }
        Ok(dict)
    }

    /// Drop rounds as a machine does that retains `keep_rounds`, at least `gc_depth`, below the last closed one.
    fn forget(&self, py: Python<'_>, keep_rounds: &Bound<'_, PyAny>) -> PyResult<()> {
        let keep = convert::number("keep_rounds", keep_rounds, u64::MAX)?;
        let done = self.run.run(py, |run| Ok(run.forget(keep)))?;
        done.map_err(|text| convert::argument_error(py, text))
    }

    /// Rolling hash of the order so far.
    #[getter]
    fn order_hash<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let hash = self.run.run(py, |run| Ok(run.orderer.order_hash))?;
        Ok(PyBytes::new(py, &hash))
    }

    /// Events that are here.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.run.run(py, |run| Ok(run.dag.len()))
    }
}

impl DagRun {
    fn add(&self, py: Python<'_>, entries: Vec<Entry>, deciding: bool) -> PyResult<()> {
        let done = self.run.run(py, |run| {
            for entry in entries {
                if let Err(text) = run.add(entry, deciding) {
                    return Ok(Err(text)); // the caller's mistake, seen before anything changed
                }
            }
            Ok(Ok(()))
        })?;
        done.map_err(|text| convert::argument_error(py, text))
    }
}

impl Entry {
    fn extract(
        digest: &Bound<'_, PyAny>,
        creator: &Bound<'_, PyAny>,
        round: &Bound<'_, PyAny>,
        created_at: &Bound<'_, PyAny>,
        parents: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        Ok(Self {
            digest: convert::digest("digest", digest)?,
            creator: convert::number("creator", creator, u64::MAX)?,
            round: convert::number("round", round, u64::MAX)?,
            created_at: convert::number("created_at", created_at, u64::MAX)?,
            parents: parents
                .try_iter()?
                .map(|parent| convert::digest("a parent", &parent?))
                .collect::<PyResult<_>>()?,
            items: Vec::new(),
            transactions: Vec::new(),
        })
    }
}

impl Run {
    /// At the beginning of an epoch.
    fn begin(start: EpochStart, network_id: Digest) -> Result<Self, Error> {
        let committee = start.roster.committee(start.epoch_id, Signatures::Ed25519)?;
        let network = start.roster.network.clone();
        let (gc_depth, epoch_ns) = (network.gc_depth, network.epoch_ms * 1_000_000);
        let mut orderer = Orderer::new(committee.clone(), network.order, gc_depth, start.number);
        orderer.follow(start.next_index, start.consensus_at, start.order_hash);
        let mut epoch = Epoch::new(committee.clone(), epoch_ns, Some(start.roster), start.number, Some(network_id));
        if !start.state.is_empty() {
            epoch.restore(&start.state)?;
        }
        Ok(Self {
            dag: Dag::new(committee.n),
            decider: Decider::new(committee.clone(), network.rule),
            orderer,
            epoch,
            committee,
            gc_depth,
            forgotten: 0,
        })
    }

    fn add(&mut self, entry: Entry, deciding: bool) -> Result<(), String> {
        let (event, parents) = self.checked(&entry)?;
        let at = self.dag.insert(Arc::new(event), &parents);
        self.orderer.accept(at, &self.dag);
        if deciding {
            self.decider.insert(at, &self.dag);
        } else {
            self.decider.count(at, &self.dag);
        }
        Ok(())
    }

    /// The event, if it can stand where it says.
    fn checked(&self, entry: &Entry) -> Result<(values::Event, Vec<NodeRef>), String> {
        let id = || hex(&entry.digest);
        let (lowest, highest) = (self.dag.floor + 1, self.dag.top + MAX_GAP);
        if entry.creator >= self.committee.n as u64 {
            return Err(format!("event {} is of creator {}: give 0 to {}", id(), entry.creator, self.committee.n - 1));
        }
        if !(lowest..=highest).contains(&entry.round) {
            return Err(format!("event {} is of round {}: give {lowest} to {highest}", id(), entry.round));
        }
        if self.dag.contains(&entry.digest) {
            return Err(format!("event {} is here already", id()));
        }
        let mut references = Vec::with_capacity(entry.parents.len());
        let mut parents = Vec::with_capacity(entry.parents.len());
        for digest in &entry.parents {
            let Some(at) = self.dag.get(digest).filter(|at| at.round < entry.round) else {
                return Err(format!("event {} has parent {}, which is not an earlier event", id(), hex(digest)));
            };
            let creator = self.dag.node(at).creator;
            references.push(Parent { creator, round: at.round, digest: *digest });
            parents.push(at);
        }
        let creator = entry.creator as u16;
        let event = values::Event::from_document(
            entry.digest,
            creator,
            entry.round,
            entry.created_at,
            &references,
            &entry.items,
            &entry.transactions,
        );
        Ok((event, parents))
    }

    fn close(&mut self) -> Vec<Batch> {
        let mut batches = Vec::new();
        for (round, committed) in self.decider.closing(&self.dag) {
            if self.epoch.is_closed() {
                break;
            }
            let mut batch = Vec::new();
            for done in self.orderer.close(round, &committed, &self.dag) {
                self.epoch.count(&done);
                batch.push((done.event.digest, done.consensus_at));
            }
            let points = self.epoch.close(round, &mut self.orderer);
            batch.extend(points.iter().map(|point| (point.digest, point.consensus_at)));
            if !batch.is_empty() {
                batches.push((round, batch));
            }
        }
        batches
    }

    fn slots(&self) -> Vec<(String, String)> {
        let mut slots = Vec::new();
        for round in self.forgotten + 1..=self.dag.top {
            for creator in 0..self.committee.n {
                let status = match self.decider.status(round, creator) {
                    Status::Committed(at) => hex(&self.dag.node(at).digest),
                    Status::Skipped => "skip".to_owned(),
                    Status::Undecided => "undecided".to_owned(),
                };
                slots.push((format!("{round}/{creator}"), status));
            }
        }
        slots
    }

    fn forget(&mut self, keep: u64) -> Result<(), String> {
        if keep < self.gc_depth {
            return Err(format!("keep_rounds is {keep}: give at least gc_depth, {}", self.gc_depth));
        }
        self.forgotten = self.decider.closed;
        self.decider.prune(self.decider.closed);
        self.dag.prune(self.decider.closed.saturating_sub(keep));
        Ok(())
    }
}

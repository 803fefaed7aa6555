//! Events as Python sees them: the core's own, and Python objects only of what is asked for.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple};
use syncpoint_core::values;

use crate::convert::Classes;

/// One signed vertex of the DAG (E1).
#[pyclass(frozen, module = "syncpoint._native")]
pub(crate) struct Event {
    pub(crate) event: Arc<values::Event>,
    transactions: PyOnceLock<Py<PyTuple>>,
}

impl Event {
    pub(crate) fn new(event: Arc<values::Event>) -> Self {
        Self { event, transactions: PyOnceLock::new() }
    }
}

#[pymethods]
impl Event {
    /// Index in the committee.
    #[getter]
    fn creator(&self) -> u16 {
        self.event.creator
    }

    /// From 1.
    #[getter]
    fn round(&self) -> u64 {
        self.event.round
    }

    /// ns since the Unix epoch, as its creator claims.
    #[getter]
    fn created_at(&self) -> u64 {
        self.event.created_at
    }

    /// In creator order.
    #[getter]
    fn parents<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let classes = Classes::get(py)?;
        let parents = self.event.parents().map(|parent| classes.parent(py, &parent));
        PyTuple::new(py, parents.collect::<PyResult<Vec<_>>>()?)
    }

    /// The attachments (E5).
    #[getter]
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let classes = Classes::get(py)?;
        let items = self.event.items().map(|item| classes.item(py, &item));
        PyTuple::new(py, items.collect::<PyResult<Vec<_>>>()?)
    }

    /// The payload (E3); made when it is asked for, and then kept.
    #[getter]
    fn transactions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let made = self.transactions.get_or_try_init(py, || {
            let transactions = self.event.transactions().map(|transaction| PyBytes::new(py, transaction));
            PyTuple::new(py, transactions).map(Bound::unbind)
        })?;
        Ok(made.bind(py).clone())
    }

    /// The encoded, signed header.
    #[getter]
    fn header<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.event.header())
    }

    /// 32 bytes (E2).
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.event.digest)
    }

    /// 64 bytes (E2).
    #[getter]
    fn signature<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.event.signature())
    }

    /// About what it takes in memory and on the wire, in bytes.
    #[getter]
    fn size(&self) -> usize {
        self.event.size()
    }

    /// Whether anything in it waits to be delivered; an idle network makes events that carry nothing.
    #[getter]
    fn carries(&self) -> bool {
        self.event.carries()
    }

    /// How many transactions it has.
    #[getter]
    fn transaction_count(&self) -> usize {
        self.event.transaction_count()
    }

    /// Bytes of all its transactions.
    #[getter]
    fn payload_bytes(&self) -> usize {
        self.event.payload_bytes()
    }

    fn __repr__(&self) -> String {
        let event = &self.event;
        format!("Event({}/{} {}...)", event.round, event.creator, hex(&event.digest[..4]))
    }
}

/// An event at its place in the agreed order (O7 to O10).
#[pyclass(frozen, module = "syncpoint._native")]
pub(crate) struct Delivered {
    delivered: values::Delivered,
    event: PyOnceLock<Py<Event>>,
}

impl Delivered {
    pub(crate) fn new(delivered: values::Delivered) -> Self {
        Self { delivered, event: PyOnceLock::new() }
    }
}

#[pymethods]
impl Delivered {
    /// The event; always the same object.
    #[getter]
    fn event<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Event>> {
        let made = self.event.get_or_try_init(py, || Py::new(py, Event::new(Arc::clone(&self.delivered.event))))?;
        Ok(made.bind(py).clone())
    }

    /// The event's id: what stands for it in the order hash.
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.delivered.event.digest)
    }

    /// The parents' digests, in creator order.
    #[getter]
    fn parents<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.delivered.event.parents().map(|parent| PyBytes::new(py, &parent.digest)))
    }

    /// From 0.
    #[getter]
    fn index(&self) -> u64 {
        self.delivered.index
    }

    /// ns, strictly increasing (O8).
    #[getter]
    fn consensus_at(&self) -> u64 {
        self.delivered.consensus_at
    }

    /// 32 bytes (O9).
    #[getter]
    fn order_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.delivered.order_hash)
    }

    /// 64 bytes (O10).
    #[getter]
    fn whitened_signature<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.delivered.whitened_signature)
    }

    /// The round whose closing delivered it.
    #[getter]
    fn closed_by(&self) -> u64 {
        self.delivered.closed_by
    }

    /// Of our own events: the number of each transaction, None from before a restart.
    #[getter]
    fn submissions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.delivered.submissions)
    }

    /// The number of the epoch: whose committee `event.creator` is an index in.
    #[getter]
    fn epoch(&self) -> u32 {
        self.delivered.epoch
    }

    fn __repr__(&self) -> String {
        let (done, event) = (&self.delivered, &self.delivered.event);
        format!("Delivered({}: {}/{} {}...)", done.index, event.round, event.creator, hex(&event.digest[..4]))
    }
}

/// A decision of the network about itself, at its place in the agreed order (S2).
#[pyclass(frozen, module = "syncpoint._native")]
pub(crate) struct SyncPoint {
    point: values::SyncPoint,
}

impl SyncPoint {
    pub(crate) fn new(point: values::SyncPoint) -> Self {
        Self { point }
    }
}

#[pymethods]
impl SyncPoint {
    /// One of `SyncPointKind`.
    #[getter]
    fn kind(&self) -> u8 {
        self.point.kind
    }

    /// What its proposer attached.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.point.metadata)
    }

    /// The id of the proposal, 32 bytes; zeros: nobody had to ask.
    #[getter]
    fn proposal<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.point.proposal)
    }

    /// Creator; None: nobody had to ask.
    #[getter]
    fn proposer(&self) -> Option<u16> {
        self.point.proposer
    }

    /// Bit set over creators: who agreed.
    #[getter]
    fn approvals(&self) -> u128 {
        self.point.approvals
    }

    /// Its number among the sync points, from 1.
    #[getter]
    fn epoch_index(&self) -> u64 {
        self.point.epoch_index
    }

    /// 32 bytes: names the session that goes on or starts here.
    #[getter]
    fn session_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.point.session_id)
    }

    /// 32 bytes, in the place of an event's (O9).
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.point.digest)
    }

    /// In the same numbering as events.
    #[getter]
    fn index(&self) -> u64 {
        self.point.index
    }

    /// ns, strictly increasing (O8).
    #[getter]
    fn consensus_at(&self) -> u64 {
        self.point.consensus_at
    }

    /// 32 bytes (O9).
    #[getter]
    fn order_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.point.order_hash)
    }

    /// The round whose closing delivered it.
    #[getter]
    fn closed_by(&self) -> u64 {
        self.point.closed_by
    }

    /// Of a kind in `change.CHANGING`: what it changes from the next epoch on (S4).
    #[getter]
    fn change<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.point.change)
    }

    /// The number of the epoch: whose committee `proposer` and `approvals` are indices in.
    #[getter]
    fn epoch(&self) -> u32 {
        self.point.epoch
    }

    fn __repr__(&self) -> String {
        let point = &self.point;
        format!("SyncPoint({}: kind {} {}...)", point.index, point.kind, hex(&point.digest[..4]))
    }
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

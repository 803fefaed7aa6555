//! Bytes to values and back, the checks of single values, and what follows from a committee's size.

use std::sync::Arc;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use syncpoint_core::committee::Committee;
use syncpoint_core::config::{MAX_PEERS, Signatures};
use syncpoint_core::error::{Error, Reject};
use syncpoint_core::wire::{self, FrameType};
use syncpoint_core::{journal, verify};

use crate::convert::{self, Classes};
use crate::guard::{Failure, catch};
use crate::values::Event;

type Any<'py> = PyResult<Bound<'py, PyAny>>;

// -- bytes to values ----------------------------------------------------------------------------------

/// The event in an EVENT frame, or why it is none (E4, V1, V6).
#[pyfunction]
pub(crate) fn decode_event<'py>(
    py: Python<'py>,
    frame: &Bound<'py, PyAny>,
    epoch_id: &Bound<'py, PyAny>,
    network: &Bound<'py, PyAny>,
) -> Any<'py> {
    let frame = convert::shared("the frame", frame)?;
    let epoch_id = convert::digest("epoch_id", epoch_id)?;
    let decoded = wire::decode_event(&frame, &epoch_id, &convert::network(network)?);
    answer(py, decoded, |event| Event::new(Arc::new(event)).into_bound_py_any(py))
}

/// Creator and round of a header that stands alone, or why it is none.
#[pyfunction]
pub(crate) fn decode_header<'py>(py: Python<'py>, header: &[u8], epoch_id: &Bound<'py, PyAny>) -> Any<'py> {
    let epoch_id = convert::digest("epoch_id", epoch_id)?;
    answer(py, wire::decode_header(header, &epoch_id), |slot| slot.into_bound_py_any(py))
}

/// The digests in a REQUEST frame, or why it is none.
#[pyfunction]
pub(crate) fn decode_request<'py>(py: Python<'py>, frame: &[u8]) -> Any<'py> {
    answer(py, wire::decode_request(frame), |digests| {
        PyList::new(py, digests.iter().map(|digest| PyBytes::new(py, digest)))?.into_bound_py_any(py)
    })
}

/// The rounds in a FRONTIER or PULL frame of an epoch with n creators, or why it is none.
#[pyfunction]
pub(crate) fn decode_frontier<'py>(py: Python<'py>, frame: &[u8], n: &Bound<'py, PyAny>) -> Any<'py> {
    let n = convert::number("n", n, MAX_PEERS as u64)? as usize;
    answer(py, wire::decode_frontier(frame, n), |rounds| PyTuple::new(py, rounds)?.into_bound_py_any(py))
}

/// The two (header, signature) pairs of an EVIDENCE item, or why it is none.
#[pyfunction]
pub(crate) fn decode_evidence<'py>(py: Python<'py>, body: &[u8]) -> Any<'py> {
    answer(py, wire::decode_evidence(body), |pairs| {
        let pairs = pairs.map(|(header, signature)| (PyBytes::new(py, header), PyBytes::new(py, signature)));
        PyList::new(py, pairs)?.into_bound_py_any(py)
    })
}

/// By what a store finds the event of an EVENT frame: epoch id, round, digest; None when its header is cut off.
#[pyfunction]
pub(crate) fn event_key<'py>(py: Python<'py>, frame: &[u8]) -> Option<(Bound<'py, PyBytes>, u64, Bound<'py, PyBytes>)> {
    let (epoch_id, round, digest) = wire::event_key(frame)?;
    Some((PyBytes::new(py, &epoch_id), round, PyBytes::new(py, &digest)))
}

/// What a record of the journal says, None when it is none.
#[pyfunction]
pub(crate) fn decode_record<'py>(py: Python<'py>, record: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let record = journal::decode_record(&convert::shared("the record", record)?);
    record.map(|record| Classes::get(py)?.record(py, &record)).transpose()
}

fn answer<'py, T>(py: Python<'py>, decoded: Result<T, Reject>, make: impl FnOnce(T) -> Any<'py>) -> Any<'py> {
    match decoded {
        Ok(value) => make(value),
        Err(reject) => Classes::get(py)?.reject(py, reject),
    }
}

// -- values to bytes ----------------------------------------------------------------------------------

/// An EVENT frame.
#[pyfunction]
pub(crate) fn encode_event<'py>(py: Python<'py>, event: &Bound<'py, Event>) -> Bound<'py, PyBytes> {
    PyBytes::new(py, event.get().event.frame())
}

/// A REQUEST frame for 1 to 256 events.
#[pyfunction]
pub(crate) fn encode_request<'py>(py: Python<'py>, digests: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let digests: Vec<_> =
        digests.try_iter()?.map(|digest| convert::digest("a digest", &digest?)).collect::<PyResult<_>>()?;
    let frame = catch(|| Ok(wire::encode_request(&digests))).map_err(|failure| failure.raise(py))?;
    Ok(PyBytes::new(py, &frame))
}

/// A FRONTIER or PULL frame of the epoch with a number (F3).
#[pyfunction]
#[pyo3(signature = (r#type, frontier, epoch = None))]
pub(crate) fn encode_frontier<'py>(
    py: Python<'py>,
    r#type: &Bound<'py, PyAny>,
    frontier: &Bound<'py, PyAny>,
    epoch: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let byte = convert::number("type", r#type, u64::from(u8::MAX))? as u8;
    let Some(kind @ (FrameType::Frontier | FrameType::Pull)) = FrameType::of(byte) else {
        return Err(convert::argument_error(py, format!("type is {byte}: give FrameType.FRONTIER or FrameType.PULL")));
    };
    let rounds: Vec<u64> =
        frontier.try_iter()?.map(|round| convert::number("a round", &round?, u64::MAX)).collect::<PyResult<_>>()?;
    let epoch = epoch.map_or(Ok(0), |epoch| convert::number("epoch", epoch, u64::from(u32::MAX)))? as u32;
    Ok(PyBytes::new(py, &wire::encode_frontier(kind, &rounds, epoch)))
}

/// The canonical bytes of a network's settings.
#[pyfunction]
pub(crate) fn encode_network<'py>(py: Python<'py>, network: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &convert::network(network)?.encode()))
}

// -- committees and checks ----------------------------------------------------------------------------

/// The id of the first epoch of a network.
#[pyfunction]
pub(crate) fn epoch_id<'py>(
    py: Python<'py>,
    network: &Bound<'py, PyAny>,
    members: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &genesis(network, members, Signatures::Ed25519)?.epoch_id))
}

/// All thresholds of a committee of n with f liars, by name; f None takes the most.
#[pyfunction]
pub(crate) fn committee<'py>(
    py: Python<'py>,
    n: &Bound<'py, PyAny>,
    f: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let committee = plain(n, f, [0; 32])?;
    let thresholds = PyDict::new(py);
    thresholds.set_item("n", committee.n)?;
    thresholds.set_item("f", committee.f)?;
    thresholds.set_item("q", committee.q)?;
    thresholds.set_item("p", committee.p)?;
    thresholds.set_item("fast", committee.fast)?;
    thresholds.set_item("qc", committee.qc)?;
    thresholds.set_item("t_plain", committee.t_plain)?;
    thresholds.set_item("t_exposed", committee.t_exposed)?;
    Ok(thresholds)
}

/// The creators of a round, primary first (D4).
#[pyfunction]
pub(crate) fn slot_order(
    n: &Bound<'_, PyAny>,
    f: &Bound<'_, PyAny>,
    epoch_id: &Bound<'_, PyAny>,
    round: &Bound<'_, PyAny>,
) -> PyResult<Vec<usize>> {
    let committee = plain(n, f, convert::digest("epoch_id", epoch_id)?)?;
    Ok(committee.slot_order(convert::number("round", round, u64::MAX)?).collect())
}

/// What is wrong with an event as far as it alone tells (V1, V2, V3), None when nothing is.
#[pyfunction]
#[pyo3(signature = (event, network, members, signatures = Signed(Signatures::Ed25519)))]
pub(crate) fn check_event<'py>(
    py: Python<'py>,
    event: &Bound<'py, Event>,
    network: &Bound<'py, PyAny>,
    members: &Bound<'py, PyAny>,
    signatures: Signed,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let gc_depth = convert::network(network)?.gc_depth;
    match verify::check_event(&event.get().event, &genesis(network, members, signatures.0)?, gc_depth) {
        Ok(()) => Ok(None),
        Err(reject) => Classes::get(py)?.reject(py, reject).map(Some),
    }
}

/// The creator that an EVIDENCE item proves to have signed two events for one slot, None if it proves nothing.
#[pyfunction]
#[pyo3(signature = (body, network, members, signatures = Signed(Signatures::Ed25519)))]
pub(crate) fn check_evidence(
    body: PyBackedBytes,
    network: &Bound<'_, PyAny>,
    members: &Bound<'_, PyAny>,
    signatures: Signed,
) -> PyResult<Option<usize>> {
    Ok(verify::check_evidence(&body, &genesis(network, members, signatures.0)?))
}

/// How events are signed, as an argument that may be left out.
pub(crate) struct Signed(pub(crate) Signatures);

impl<'a, 'py> FromPyObject<'a, 'py> for Signed {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        convert::signatures("signatures", &value).map(Self)
    }
}

/// The first committee of a network.
pub(crate) fn genesis(
    network: &Bound<'_, PyAny>,
    members: &Bound<'_, PyAny>,
    signatures: Signatures,
) -> PyResult<Committee> {
    let made = Committee::genesis(&convert::network(network)?, &convert::members(members)?, signatures);
    made.map_err(|error| Failure::Core(error).raise(network.py()))
}

/// A committee that nobody signs for.
pub(crate) fn plain(n: &Bound<'_, PyAny>, f: &Bound<'_, PyAny>, epoch_id: [u8; 32]) -> PyResult<Committee> {
    let size = n.extract().map_err(|_| ());
    let liars = if f.is_none() { Ok(None) } else { f.extract().map(Some).map_err(|_| ()) };
    let made = match (size, liars) {
        (Ok(n), Ok(f)) => Committee::new(n, f, epoch_id, Vec::new(), Signatures::Ed25519, Vec::new()),
        (Err(()), _) => Err(Error::Argument(format!("a committee of {n} peers: 1 to {MAX_PEERS} are allowed"))),
        (_, Err(())) => Err(Error::Argument(format!("f = {f} liars among {n} peers: give None, or 0 and more"))),
    };
    made.map_err(|error| Failure::Core(error).raise(n.py()))
}

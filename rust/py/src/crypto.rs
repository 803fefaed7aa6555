//! Hashes, keys, signatures and Merkle trees: rule SP.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyTuple};
use syncpoint_core::config::Signatures;
use syncpoint_core::crypto::{self, Signer};
use syncpoint_core::error::Error;
use syncpoint_core::values::Digest;

use crate::convert;
use crate::guard::Failure;

/// The 32-byte BLAKE3 hash of `data`.
#[pyfunction]
pub(crate) fn blake3<'py>(py: Python<'py>, data: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &crypto::blake3(data))
}

/// The 32-byte public key of a 32-byte Ed25519 seed.
#[pyfunction]
pub(crate) fn derive<'py>(py: Python<'py>, seed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &crypto::derive(&convert::seed(py, seed)?)))
}

/// The 64-byte signature of `message` by the key of `seed`.
#[pyfunction]
pub(crate) fn sign<'py>(py: Python<'py>, seed: &[u8], message: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &Signer::new(&convert::seed(py, seed)?, Signatures::Ed25519).sign(message)))
}

/// Whether `signature` is one of `message` by `public`, an admitted key.
#[pyfunction]
pub(crate) fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    crypto::verify(public, message, signature)
}

/// The 64 bytes that stand for a signature of `message` by `public` in a simulation; anyone can compute them.
#[pyfunction]
pub(crate) fn simulated_signature<'py>(
    py: Python<'py>,
    public: &Bound<'py, PyAny>,
    message: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &crypto::simulated_signature(&convert::digest("public", public)?, message)))
}

/// Whether `public` may be a peer's key.
#[pyfunction]
pub(crate) fn admit(public: &[u8]) -> bool {
    crypto::admit(public)
}

/// The 96-byte record by which the key of `seed` proves that someone holds it.
#[pyfunction]
pub(crate) fn peer_record<'py>(py: Python<'py>, seed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &crypto::peer_record(&Signer::new(&convert::seed(py, seed)?, Signatures::Ed25519))))
}

/// The public key of a peer record, None if the record does not hold.
#[pyfunction]
pub(crate) fn check_peer_record<'py>(py: Python<'py>, record: &[u8]) -> Option<Bound<'py, PyBytes>> {
    crypto::check_peer_record(record).map(|public| PyBytes::new(py, &public))
}

/// The 32-byte root of the Merkle tree over `leaves`.
#[pyfunction]
pub(crate) fn merkle_root(py: Python<'_>, leaves: Vec<PyBackedBytes>) -> Bound<'_, PyBytes> {
    PyBytes::new(py, &crypto::merkle_root(leaves))
}

/// The hashes that lead from leaf `index` to the root, lowest first.
#[pyfunction]
pub(crate) fn merkle_path<'py>(
    py: Python<'py>,
    leaves: Vec<PyBackedBytes>,
    index: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyTuple>> {
    let made = match index.extract::<usize>() {
        Ok(place) => crypto::merkle_path(&leaves, place),
        Err(_) => Err(Error::Argument(match leaves.len() {
            0 => format!("index {index} is no leaf of an empty tree; give at least one leaf"),
            count => format!("index {index} is no leaf of a tree of {count}; give one of 0 to {}", count - 1),
        })),
    };
    let path = made.map_err(|error| Failure::Core(error).raise(py))?;
    PyTuple::new(py, path.iter().map(|hash| PyBytes::new(py, hash)))
}

/// Whether `path` proves that `leaf` is number `index` of the `count` leaves under `root`.
#[pyfunction]
pub(crate) fn merkle_check(
    root: &[u8],
    leaf: &[u8],
    index: &Bound<'_, PyAny>,
    count: &Bound<'_, PyAny>,
    path: Vec<PyBackedBytes>,
) -> bool {
    let hash = |bytes: &[u8]| Digest::try_from(bytes).ok();
    let path: Option<Vec<Digest>> = path.iter().map(|step| hash(step)).collect();
    let (Some(root), Some(path), Ok(index), Ok(count)) = (hash(root), path, index.extract(), count.extract()) else {
        return false;
    };
    crypto::merkle_check(&root, leaf, index, count, &path)
}

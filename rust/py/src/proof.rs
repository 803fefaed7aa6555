//! Proofs, and what they prove.

use pyo3::prelude::*;
use syncpoint_core::config::Signatures;
use syncpoint_core::proof;
use syncpoint_core::roster::Roster;

use crate::convert::{self, Classes};
use crate::wire::{Signed, genesis};

/// What a proof proves by the first members of its network, or why it proves nothing.
#[pyfunction]
#[pyo3(signature = (proof, network, members, signatures = Signed(Signatures::Ed25519)))]
pub(crate) fn check_proof<'py>(
    py: Python<'py>,
    proof: &Bound<'py, PyAny>,
    network: &Bound<'py, PyAny>,
    members: &Bound<'py, PyAny>,
    signatures: Signed,
) -> PyResult<Bound<'py, PyAny>> {
    let data = convert::shared("the proof", proof)?;
    let committee = genesis(network, members, signatures.0)?;
    let roster = Roster::first(convert::network(network)?, &convert::members(members)?);
    let checked = py.detach(|| proof::check_proof(&data, roster, committee));
    let classes = Classes::get(py)?;
    match checked {
        Ok(proved) => classes.proved(py, &proved),
        Err(flaw) => classes.flaw(py, flaw),
    }
}

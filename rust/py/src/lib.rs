//! `syncpoint._native`: the native core as a Python module.
//!
//! Nothing is decided here. Inputs and arguments become the core's values, the core runs without the interpreter's
//! lock, and its answers become Python objects. The Python core has the same face in `syncpoint/_python.py`; both are
//! described in `syncpoint/_native.pyi`.

mod convert;
mod crypto;
mod dag;
mod guard;
mod machine;
mod proof;
mod values;
mod wire;

/// The native core.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::crypto::{
        admit, blake3, check_peer_record, derive, merkle_check, merkle_path, merkle_root, peer_record, sign,
        simulated_signature, verify,
    };
    #[pymodule_export]
    use crate::dag::DagRun;
    #[pymodule_export]
    use crate::machine::Machine;
    #[pymodule_export]
    use crate::proof::check_proof;
    #[pymodule_export]
    use crate::values::{Delivered, Event, SyncPoint};
    #[pymodule_export]
    use crate::wire::{
        check_event, check_evidence, committee, decode_event, decode_evidence, decode_frontier, decode_header,
        decode_record, decode_request, encode_event, encode_frontier, encode_network, encode_request, epoch_id,
        event_key, slot_order,
    };

    /// The number of the seam: what crosses it and how. A module with another number than the package is not used.
    #[pymodule_export]
    const SEAM: u32 = 8;

    /// Where BLAKE3 comes from.
    #[pymodule_export]
    const HASH: &str = "native";

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

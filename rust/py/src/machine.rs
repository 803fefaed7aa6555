//! The machine: one crossing per step.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use syncpoint_core::machine;
use syncpoint_core::wire::MAX_TIME;

use crate::convert;
use crate::guard::{Failure, Guarded};

/// One running instance of the core: takes inputs, returns outputs.
#[pyclass(frozen, module = "syncpoint._native")]
pub(crate) struct Machine {
    machine: Guarded<machine::Machine>,
}

#[pymethods]
impl Machine {
    #[new]
    fn new(config: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = config.py();
        let config = convert::machine_config(config)?;
        let machine = machine::Machine::new(config).map_err(|error| Failure::Core(error).raise(py))?;
        Ok(Self { machine: Guarded::new("machine", machine) })
    }

    /// Take in what happened until `now` (ns since the Unix epoch, never decreasing); what to do about it.
    fn step<'py>(
        &self,
        py: Python<'py>,
        now: &Bound<'py, PyAny>,
        inputs: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let now = convert::number("now", now, MAX_TIME)?;
        let inputs = convert::inputs(inputs)?;
        let outputs = self.machine.run(py, |machine| machine.step(now, inputs))?;
        // What was to be done is known to nobody if it cannot be said: no memory, most likely.
        convert::outputs(py, outputs).inspect_err(|error| self.machine.fail(py, error))
    }

    /// A snapshot for people and metrics; of a machine that failed the last one, which says so.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let status = self.machine.look(py, |machine, failure| {
            let mut status = machine.status();
            if failure.is_some() {
                status.halted = failure;
            }
            status
        })?;
        convert::status(py, status)
    }

    /// A hash of all that the peers must come to agree on, and of what it will be computed from.
    fn digest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let digest = self.machine.run(py, |machine| Ok(machine.digest()))?;
        Ok(PyBytes::new(py, &digest))
    }
}

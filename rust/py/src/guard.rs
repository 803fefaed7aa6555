//! What stands between Python and a core that may fail: one caller at a time, and none after a failure.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyAssertionError;
use pyo3::prelude::*;
use syncpoint_core::error::Error;

use crate::convert;

/// Why a call has no answer.
pub(crate) enum Failure {
    /// The core says what is wrong.
    Core(Error),
    /// An assertion of the core does not hold: the caller's mistake, or a bug.
    Assertion(String),
}

impl Failure {
    /// The exception that the Python core raises for the same.
    pub(crate) fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Core(Error::Argument(text)) => convert::argument_error(py, text),
            Self::Core(Error::Corrupt(text)) => convert::corrupt_error(py, text),
            Self::Assertion(text) => PyAssertionError::new_err(text),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Core(Error::Argument(text)) => format!("ArgumentError: {text}"),
            Self::Core(Error::Corrupt(text)) => format!("CorruptError: {text}"),
            Self::Assertion(text) => format!("AssertionError: {text}"),
        }
    }
}

/// A value whose methods may panic; after a failure it is kept, to be looked at, but not used.
pub(crate) struct Guarded<T> {
    what: &'static str,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: T,
    failure: Option<String>,
}

impl<T: Send> Guarded<T> {
    pub(crate) fn new(what: &'static str, value: T) -> Self {
        Self { what, state: Mutex::new(State { value, failure: None }) }
    }

    /// Run without the interpreter's lock, which a thread that waits here must not hold either; one caller at a time.
    ///
    /// Whatever fails fails for good: a panic, or an error of the core, may have left the value half changed.
    pub(crate) fn run<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut T) -> Result<R, Error> + Send,
    ) -> PyResult<R> {
        py.detach(|| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(failure) = &state.failure {
                return Err(Failure::Assertion(poisoned(self.what, failure)));
            }
            let done = catch(|| work(&mut state.value));
            if let Err(failure) = &done {
                state.failure = Some(failure.describe());
            }
            done
        })
        .map_err(|failure| failure.raise(py))
    }

    /// Look at the value, and at what is wrong with it since it failed.
    pub(crate) fn look<R: Send>(
        &self,
        py: Python<'_>,
        look: impl FnOnce(&T, Option<String>) -> R + Send,
    ) -> PyResult<R> {
        py.detach(|| {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let failure = state.failure.as_deref().map(|failure| poisoned(self.what, failure));
            catch(|| Ok(look(&state.value, failure)))
        })
        .map_err(|failure| failure.raise(py))
    }

    /// Take the value out of use: its answer is lost.
    pub(crate) fn fail(&self, py: Python<'_>, failure: &PyErr) {
        let text = failure.to_string();
        py.detach(|| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.failure.get_or_insert(text);
        });
    }
}

/// The answer of something that may panic.
pub(crate) fn catch<R>(work: impl FnOnce() -> Result<R, Error>) -> Result<R, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(Failure::Core),
        Err(panic) => Err(Failure::Assertion(text_of(panic.as_ref()))),
    }
}

fn poisoned(what: &str, failure: &str) -> String {
    format!("this {what} failed before and is of no more use: {failure}")
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "the core panicked and did not say why".to_owned()
    }
}

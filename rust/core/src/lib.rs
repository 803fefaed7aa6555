//! The native core: agreement without IO, written to be fast.
//!
//! Bytes in, wire, verify, dag, decide, order, messages out. Every module has a twin of the same name in the
//! Python core, which is written to be read: same public names in the same order, same constants, same numbers.
//! A machine is created from a [`config::MachineConfig`] and driven by [`machine::Machine::step`].

#![forbid(unsafe_code)]

pub mod change;
pub mod checkpoint;
pub mod committee;
pub mod config;
pub mod crypto;
pub mod dag;
pub mod decide;
pub mod ended;
pub mod epoch;
pub mod error;
pub mod exchange;
pub mod fetch;
pub mod input;
pub mod items;
pub mod journal;
pub mod late;
pub mod machine;
pub mod order;
pub mod output;
pub mod proof;
pub mod propose;
pub mod recover;
pub mod replica;
pub mod retain;
pub mod roster;
pub mod status;
pub mod timer;
pub mod transition;
pub mod values;
pub mod verify;
pub mod wire;

mod bits;

//! Epochs that are over: what peers that lag behind still need of them (S4).

use crate::committee::Committee;
use crate::config::Local;
use crate::error::Reject;
use crate::fetch::{Budget, Server, first_needed};
use crate::output::Output;
use crate::wire::{self, FrameType};

/// An epoch that is over.
#[derive(Debug)]
struct Ended {
    committee: Committee,
    gc_depth: u64,
    /// The highest round of each creator that we had.
    reached: Vec<u64>,
}

/// Answers pulls for epochs before the newest one from the store; peers go by their numbers at the seam.
#[derive(Debug)]
pub struct EndedEpochs {
    /// By number, from 0.
    ended: Vec<Ended>,
    stores: bool,
    budget: Budget,
}

impl EndedEpochs {
    /// None has ended yet.
    #[must_use]
    pub fn new(local: &Local) -> Self {
        Self { ended: Vec::new(), stores: local.stores, budget: Budget::default() }
    }

    /// The next epoch has ended.
    pub fn add(&mut self, committee: Committee, gc_depth: u64, reached: Vec<u64>) {
        self.ended.push(Ended { committee, gc_depth, reached });
    }

    /// Answer a pull for the epoch with a number; what is to be sent goes to `outputs`.
    ///
    /// # Errors
    /// The reason why it is not answered.
    pub fn answer(
        &mut self,
        peer: usize,
        number: u32,
        frame: &[u8],
        now: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Reject> {
        let Ended { committee, gc_depth, reached } = &self.ended[number as usize];
        let frontier = wire::decode_frontier(frame, committee.n)?;
        if !self.stores {
            return Ok(()); // nobody can help it here
        }
        self.budget.charge(peer, now)?;
        let top = reached.iter().copied().max().unwrap_or(0);
        let first = first_needed(&frontier, reached, top, committee.q, *gc_depth);
        let last = wire::encode_frontier(FrameType::Frontier, reached, number);
        let (epoch, most) = (number, Server::BYTES_PER_PULL);
        outputs.push(Output::SendStored { peer, epoch, first, frontier, most, last });
        Ok(())
    }
}

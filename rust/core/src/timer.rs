//! How long to wait for whom: measured, local, and never a matter of safety (P4, P5).

use std::collections::BTreeMap;

use crate::bits::{Creators, creator as bit};
use crate::committee::Committee;

const MS: u64 = 1_000_000;
/// The soft wait is at least so long, in ns.
pub const MIN_SOFT_NS: u64 = 5 * MS;
/// The soft wait of a machine that has just started, in ns.
pub const FIRST_SOFT_NS: u64 = 20 * MS;
/// The soft wait is at most so long, in ns.
pub const MAX_SOFT_NS: u64 = 250 * MS;
/// The timeout is at least so long, in ns.
pub const MIN_TIMEOUT_NS: u64 = 5 * MS;
/// The timeout of a machine that has just started, in ns.
pub const FIRST_TIMEOUT_NS: u64 = 100 * MS;
/// The timeout is at most so long, in ns.
pub const MAX_TIMEOUT_NS: u64 = 10_000 * MS;
/// Rounds of which a timely peer was in time ...
pub const HISTORY_ROUNDS: u32 = 16;
/// ... in at least so many (80 %).
pub const TIMELY_ROUNDS: u32 = 13;
/// Weight of the past in an average, of 1 / (1 + `SMOOTHING`) for the newest.
pub const SMOOTHING: i64 = 8;

/// What ended the wait for a round (P3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// Nothing more was worth a wait.
    Settled,
    /// The timeout.
    Timeout,
    /// A quorum that is further than we are.
    Overtaken,
}

/// When the events of one round were accepted here.
#[derive(Debug)]
struct Arrivals {
    at: Vec<u64>, // ns per creator, where `creators` has it
    creators: Creators,
    created_at: Option<u64>, // ns, when our own was made
    quorum_at: Option<u64>,  // ns, when q creators were here
    unsettled: bool,         // we waited for it to be settled
}

/// Arrivals by round, and the waits that follow from them.
#[derive(Debug)]
pub struct Timer {
    /// ns (P4).
    pub soft_ns: u64,
    /// ns (P3).
    pub timeout_ns: u64,
    /// Who is mostly in time; observers do not wait.
    pub timely: Creators,
    /// We, and those with a live link.
    pub linked: Creators,
    /// Rounds that ended by the timeout.
    pub timeouts: u64,
    n: usize,
    q: usize,
    own: usize,
    in_time: Vec<u16>, // per creator one bit per round, newest lowest
    rounds: BTreeMap<u64, Arrivals>,
    delay_ns: u64,  // from our event of a round to q events of it
    late_ns: u64,   // from q events of a round to the last one worth waiting for
    settle_ns: u64, // from q events of a round to when it is settled
}

impl Timer {
    /// The timer of the creator `own`.
    #[must_use]
    pub fn new(committee: &Committee, own: usize) -> Self {
        Self {
            soft_ns: FIRST_SOFT_NS,
            timeout_ns: FIRST_TIMEOUT_NS,
            timely: if own < committee.n { Creators::MAX >> (Creators::BITS - committee.n as u32) } else { 0 },
            linked: if own < committee.n { bit(own) } else { 0 },
            timeouts: 0,
            n: committee.n,
            q: committee.q,
            own,
            in_time: vec![u16::MAX; committee.n],
            rounds: BTreeMap::new(),
            delay_ns: FIRST_SOFT_NS,
            late_ns: FIRST_SOFT_NS,
            settle_ns: FIRST_TIMEOUT_NS / 4,
        }
    }

    /// Go on with what was measured in the epoch before, where the creators had these indices.
    ///
    /// Who was no creator there is not waited for until it is mostly in time: it may still be catching up (P4).
    pub fn follow(&mut self, before: &Self, places: impl Iterator<Item = usize>) {
        self.timeouts = before.timeouts;
        if before.own >= before.n {
            return; // an observer measures nothing
        }
        (self.soft_ns, self.timeout_ns) = (before.soft_ns, before.timeout_ns);
        (self.delay_ns, self.late_ns, self.settle_ns) = (before.delay_ns, before.late_ns, before.settle_ns);
        for (creator, place) in places.enumerate() {
            let was_there = place < before.n;
            self.in_time[creator] = if was_there { before.in_time[place] } else { 0 };
            if !was_there || before.timely & bit(place) == 0 {
                self.timely &= !bit(creator);
            }
        }
    }

    /// Note the first event of a creator in a round.
    pub fn accepted(&mut self, round: u64, creator: usize, now: u64) {
        let (q, is_own) = (self.q as u32, creator == self.own);
        let arrivals = self.arrivals(round);
        if arrivals.creators & bit(creator) != 0 {
            return;
        }
        arrivals.creators |= bit(creator);
        arrivals.at[creator] = now;
        if is_own {
            arrivals.created_at = Some(now);
        }
        if arrivals.creators.count_ones() == q {
            arrivals.quorum_at = Some(now);
        }
    }

    /// Whether a creator's next event is worth a wait: it is linked and mostly in time (P4).
    #[must_use]
    pub fn expects(&self, creator: usize) -> bool {
        self.timely & self.linked & bit(creator) != 0
    }

    /// Until when to wait for the timely peers' events of a round; 0 when they are all here (P4).
    #[must_use]
    pub fn soft_until(&self, round: u64) -> u64 {
        match self.rounds.get(&round) {
            Some(Arrivals { quorum_at: Some(quorum_at), creators, .. })
                if self.timely & self.linked & !creators != 0 =>
            {
                quorum_at + self.soft_ns
            }
            _ => 0,
        }
    }

    /// When the wait for a round ends whatever is missing (P3).
    #[must_use]
    pub fn timeout_at(&self, round: u64) -> u64 {
        let quorum_at = self.rounds.get(&round).and_then(|arrivals| arrivals.quorum_at);
        quorum_at.map_or(0, |at| at + self.timeout_ns)
    }

    /// Note that we wait only for the round to be settled (P3).
    pub fn unsettled(&mut self, round: u64) {
        self.arrivals(round).unsettled = true;
    }

    /// Learn from a round that we leave now for the next one (P5).
    pub fn advanced(&mut self, round: u64, by: Advance, now: u64) {
        if let Some(floor) = round.checked_sub(2) {
            self.prune(floor);
        }
        let arrivals = self.rounds.get(&round);
        match by {
            Advance::Overtaken => return, // we were behind: these arrivals say nothing about the peers
            Advance::Timeout => {
                // Else nobody waited: the round was over long ago.
                if arrivals.is_some_and(|arrivals| arrivals.unsettled) {
                    self.timeouts += 1;
                    self.timeout_ns = (2 * self.timeout_ns).min(MAX_TIMEOUT_NS);
                }
            }
            Advance::Settled => {
                if let Some(&Arrivals { quorum_at: Some(quorum_at), unsettled, .. }) = arrivals {
                    let took = if unsettled { now as i64 - quorum_at as i64 } else { 0 };
                    self.settle_ns = smooth(self.settle_ns, took);
                    let base = 4 * self.settle_ns + self.soft_ns + MIN_TIMEOUT_NS;
                    self.timeout_ns = base.max(self.timeout_ns * 3 / 4).min(MAX_TIMEOUT_NS);
                }
            }
        }
        if let Some(before) = round.checked_sub(1) {
            self.score(before); // one round later, so that who was a little late is seen to be there
        }
    }

    /// Forget the arrivals of all rounds up to `floor`.
    pub fn prune(&mut self, floor: u64) {
        while let Some(first) = self.rounds.first_entry().filter(|first| *first.key() <= floor) {
            first.remove();
        }
    }

    /// Who was in time in a round, and how long that took.
    fn score(&mut self, round: u64) {
        let Some(arrivals) = self.rounds.get(&round) else { return };
        let Some(quorum_at) = arrivals.quorum_at else { return };
        if let Some(created_at) = arrivals.created_at {
            self.delay_ns = smooth(self.delay_ns, quorum_at.saturating_sub(created_at) as i64);
        }
        // Far later than the network's own delay is slow: not worth a wait (P4).
        let (cap, mut late) = (4 * self.delay_ns + MIN_SOFT_NS, 0);
        for creator in 0..self.n {
            // Below zero for who came before the quorum was complete.
            let lateness = if arrivals.creators & bit(creator) == 0 {
                MAX_SOFT_NS as i64 + 1
            } else {
                arrivals.at[creator] as i64 - quorum_at as i64
            };
            let in_time = creator == self.own || lateness <= self.soft_ns as i64;
            let history = &mut self.in_time[creator];
            *history = *history << 1 | u16::from(in_time);
            if history.count_ones() >= TIMELY_ROUNDS {
                self.timely |= bit(creator);
            } else {
                self.timely &= !bit(creator);
            }
            if lateness <= cap as i64 {
                late = late.max(lateness);
            }
        }
        self.late_ns = smooth(self.late_ns, late);
        // Generous: leaving without a timely peer's vote costs a delay or two, and who is there is not waited for.
        self.soft_ns = (4 * self.late_ns).max(MIN_SOFT_NS).min(cap).min(MAX_SOFT_NS);
    }

    fn arrivals(&mut self, round: u64) -> &mut Arrivals {
        self.rounds.entry(round).or_insert_with(|| Arrivals {
            at: vec![0; self.n],
            creators: 0,
            created_at: None,
            quorum_at: None,
            unsettled: false,
        })
    }
}

const _: () = assert!(HISTORY_ROUNDS == u16::BITS, "a history is one word");

/// The average moved towards the value; the division rounds down also where the value is lower.
fn smooth(average: u64, value: i64) -> u64 {
    let average = average as i64;
    (average + (value - average).div_euclid(SMOOTHING)) as u64
}

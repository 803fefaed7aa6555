//! What a network agrees on before it starts, and what each peer may set for itself.

use crate::error::Error;

/// The version of the protocol in every header (E1, V1).
pub const PROTOCOL_VERSION: u16 = 1;
/// Members of a committee.
pub const MAX_PEERS: usize = 128;
/// Bytes of a network's name.
pub const MAX_NAME_BYTES: usize = 64;
/// Bytes of transactions in one event, whatever the network allows.
pub const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;
/// Rounds that an undelivered event may still be ordered, whatever the network allows.
pub const MAX_GC_DEPTH: u64 = 10_000;
/// Transactions in one event.
pub const MAX_TRANSACTIONS: usize = 16_384;
/// Items in one event.
pub const MAX_ITEMS: usize = 64;
/// Bytes of all items in one event.
pub const MAX_ITEM_BYTES: usize = 64 * 1024;
/// In [`Member::flags`]: an observer (Q4).
pub const NO_ORDER: u8 = 1;

const SETTINGS_BYTES: usize = 1 + 1 + 2 + 4 * 4; // what follows the name

/// The decision rule (D5 to D8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Final in two message delays in the good case.
    TwoStep = 0,
    /// Final in three.
    ThreeStep = 1,
}

/// The delivery order (O4, O5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By the median of first-seen times, one delay later.
    Fair = 0,
    /// By the closing round's one time.
    Fast = 1,
}

/// How events are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// Under rule SP.
    Ed25519 = 0,
    /// By hashes that anyone can compute, for tests on virtual time only: it proves nothing.
    Simulated = 1,
}

/// The names of the rules, in the order of their numbers.
pub const RULES: [&str; 2] = ["two_step", "three_step"];
/// The names of the orders, in the order of their numbers.
pub const ORDERS: [&str; 2] = ["fair", "fast"];
/// The names of the ways to sign, in the order of their numbers.
pub const SIGNATURES: [&str; 2] = ["ed25519", "simulated"];

/// What all peers of a network must have set alike; its hash is part of every event (E1).
///
/// The fields are those of the Python core's `Network`, which documents them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Any text of 1 to 64 bytes.
    pub name: String,
    /// The decision rule.
    pub rule: Rule,
    /// The delivery order.
    pub order: Order,
    /// Liars and crashes tolerated; None takes the most (Q1).
    pub f: Option<usize>,
    /// Rounds, 4 to 10,000 (O2, V3).
    pub gc_depth: u64,
    /// Bytes, 1 KiB to 8 MiB.
    pub max_payload_bytes: usize,
    /// Rounds, 8 to 100,000 (V7).
    pub max_ahead: u64,
    /// Milliseconds of consensus time, 0 to 3,600,000 (S5).
    pub epoch_ms: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            name: "syncpoint".into(),
            rule: Rule::TwoStep,
            order: Order::Fair,
            f: None,
            gc_depth: 200,
            max_payload_bytes: 1024 * 1024,
            max_ahead: 200,
            epoch_ms: 0,
        }
    }
}

impl Network {
    /// Whether every value is in its range.
    ///
    /// # Errors
    /// [`Error::Argument`] for the first one that is not.
    pub fn check(&self) -> Result<(), Error> {
        let size = self.name.len();
        if !(1..=MAX_NAME_BYTES).contains(&size) {
            return Err(Error::Argument(format!(
                "Network.name is {:?}: give a text of 1 to {MAX_NAME_BYTES} bytes in UTF-8",
                self.name
            )));
        }
        check_range("f", self.f.unwrap_or(0) as u64, 0, MAX_PEERS as u64 / 3)?;
        check_range("gc_depth", self.gc_depth, 4, MAX_GC_DEPTH)?;
        check_range("max_payload_bytes", self.max_payload_bytes as u64, 1024, MAX_PAYLOAD_BYTES as u64)?;
        check_range("max_ahead", self.max_ahead, 8, 100_000)?;
        check_range("epoch_ms", self.epoch_ms, 0, 3_600_000)
    }

    /// The canonical bytes of these settings (docs/wire.md); equal networks, equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.name.len() + 22);
        out.extend((self.name.len() as u16).to_le_bytes());
        out.extend(self.name.as_bytes());
        out.push(self.rule as u8);
        out.push(self.order as u8);
        out.extend(self.f.map_or(0xFFFF, |f| f as u16).to_le_bytes());
        out.extend((self.gc_depth as u32).to_le_bytes());
        out.extend((self.max_payload_bytes as u32).to_le_bytes());
        out.extend((self.max_ahead as u32).to_le_bytes());
        out.extend((self.epoch_ms as u32).to_le_bytes());
        out
    }

    /// The settings in canonical bytes, None when they are none.
    #[must_use]
    pub fn decode(data: &[u8]) -> Option<Self> {
        let (size, rest) = data.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*size).into())?;
        let &[rule, order, f0, f1, ref numbers @ ..]: &[u8; SETTINGS_BYTES] = rest.try_into().ok()?;
        let f = u16::from_le_bytes([f0, f1]);
        let number = |place: usize| u32::from_le_bytes(numbers.as_chunks().0[place]);
        let network = Self {
            name: std::str::from_utf8(name).ok()?.to_owned(),
            rule: *[Rule::TwoStep, Rule::ThreeStep].get(usize::from(rule))?,
            order: *[Order::Fair, Order::Fast].get(usize::from(order))?,
            f: (f != 0xFFFF).then_some(f.into()),
            gc_depth: number(0).into(),
            max_payload_bytes: number(1) as usize,
            max_ahead: number(2).into(),
            epoch_ms: number(3).into(),
        };
        network.check().ok()?;
        Some(network)
    }
}

/// One peer as the committee knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// 32 bytes.
    pub public: [u8; 32],
    /// Its capabilities, one bit each.
    pub flags: u8,
}

impl Member {
    /// Whether it takes part in ordering; else it is an observer (Q4).
    #[must_use]
    pub fn orders(&self) -> bool {
        self.flags & NO_ORDER == 0
    }
}

/// What one peer sets for itself; agreement never depends on it (P5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// ns between two own events at least (P2).
    pub min_event_interval_ns: u64,
    /// ns between two own events at most (P2).
    pub heartbeat_ns: u64,
    /// About so many events are kept in memory for peers that are behind (F4) ...
    pub retain_events: u64,
    /// ... unless they are larger than this.
    pub retain_bytes: u64,
    /// Events from one peer that wait for their parents, in bytes (V7).
    pub pool_bytes_per_sender: u64,
    /// Threads that check signatures when many come at once; 1 checks them one after the other.
    pub verify_threads: usize,
    /// Whether what is accepted is given out to be written (J2): there is a store to keep it.
    pub stores: bool,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            min_event_interval_ns: 1_000_000,
            heartbeat_ns: 500_000_000,
            retain_events: 40_000,
            retain_bytes: 256 * 1024 * 1024,
            pool_bytes_per_sender: 4 * 1024 * 1024,
            verify_threads: 1,
            stores: false,
        }
    }
}

/// Everything a machine is made from.
pub struct MachineConfig {
    /// What all peers agree on.
    pub network: Network,
    /// The peers, in any order, observers among them.
    pub members: Vec<Member>,
    /// Our Ed25519 secret.
    pub seed: [u8; 32],
    /// Randomness comes in, it is never made here (L1).
    pub entropy: [u8; 32],
    /// What we set for ourselves.
    pub local: Local,
    /// Whether our key need not be in the first committee: we follow until a sync point lets us in (S6).
    pub joins: bool,
    /// The secret of a key that takes the place of ours in the first epoch whose committee has it (S4).
    pub next_seed: Option<[u8; 32]>,
    /// How events are signed; no setting of a network or of an engine leads to `Simulated`.
    pub signatures: Signatures,
}

impl std::fmt::Debug for MachineConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "MachineConfig(network={:?}, {} members)", self.network, self.members.len())
    }
}

fn check_range(what: &str, value: u64, low: u64, high: u64) -> Result<(), Error> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::Argument(format!("Network.{what} is {value}: give {low} to {high}")))
}

//! Python objects to the core's values and back.

use bytes::Bytes;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyInt, PyIterator, PyList, PyString, PyTuple, PyType};
use syncpoint_core::config::{
    Local, MAX_PEERS, MachineConfig, Member, Network, ORDERS, Order, RULES, Rule, SIGNATURES, Signatures,
};
use syncpoint_core::crypto::{PUBLIC_BYTES, SEED_BYTES};
use syncpoint_core::epoch::Ballot;
use syncpoint_core::error::Reject;
use syncpoint_core::input::Input;
use syncpoint_core::items::decode_proposal;
use syncpoint_core::journal::{EpochStart, OwnEvent, Record, StoredSyncPoint};
use syncpoint_core::output::Output;
use syncpoint_core::proof::{Flaw, Proved, What};
use syncpoint_core::roster::Seat;
use syncpoint_core::status::Status;
use syncpoint_core::values::{Digest, Item, Message, Parent};

use crate::values::{Delivered, SyncPoint};

// -- exceptions ---------------------------------------------------------------------------------------

/// A value that is not allowed.
pub(crate) fn argument_error(py: Python<'_>, text: impl Into<String>) -> PyErr {
    exception(py, "ArgumentError", text.into())
}

/// A value of the wrong type.
pub(crate) fn type_error(py: Python<'_>, text: impl Into<String>) -> PyErr {
    exception(py, "ArgumentTypeError", text.into())
}

/// Our own store contradicts itself.
pub(crate) fn corrupt_error(py: Python<'_>, text: impl Into<String>) -> PyErr {
    exception(py, "CorruptError", text.into())
}

fn exception(py: Python<'_>, name: &str, text: String) -> PyErr {
    let class = py.import("syncpoint.errors").and_then(|errors| errors.getattr(name));
    match class.and_then(|class| class.call1((text,))) {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

// -- classes ------------------------------------------------------------------------------------------

/// The members of a Python enumeration, by number.
struct Numbered(Vec<Option<Py<PyAny>>>);

impl Numbered {
    fn of(class: &Bound<'_, PyType>) -> PyResult<Self> {
        let mut members = Vec::new();
        for member in class.try_iter()? {
            let member = member?;
            let number: usize = member.extract()?;
            if members.len() <= number {
                members.resize_with(number + 1, || None);
            }
            members[number] = Some(member.unbind());
        }
        Ok(Self(members))
    }

    fn get<'py>(&self, py: Python<'py>, number: u8, name: impl std::fmt::Debug) -> PyResult<Bound<'py, PyAny>> {
        match self.0.get(usize::from(number)) {
            Some(Some(member)) => Ok(member.bind(py).clone()),
            _ => Err(PyRuntimeError::new_err(format!("syncpoint.core has no {name:?} ({number})"))),
        }
    }
}

/// The Python classes that cross the seam, looked up once.
pub(crate) struct Classes {
    start: Py<PyType>,
    received: Py<PyType>,
    submit: Py<PyType>,
    propose: Py<PyType>,
    vote: Py<PyType>,
    attest: Py<PyType>,
    certify: Py<PyType>,
    next_key: Py<PyType>,
    persisted: Py<PyType>,
    connected: Py<PyType>,
    disconnected: Py<PyType>,
    persist: Py<PyType>,
    write: Py<PyType>,
    send_stored: Py<PyType>,
    send: Py<PyType>,
    broadcast: Py<PyType>,
    deliver: Py<PyType>,
    opened: Py<PyType>,
    closed: Py<PyType>,
    certified: Py<PyType>,
    diverged: Py<PyType>,
    entered: Py<PyType>,
    certificate: Py<PyType>,
    divergence: Py<PyType>,
    queue: Py<PyType>,
    wake: Py<PyType>,
    rejected: Py<PyType>,
    halted: Py<PyType>,
    status: Py<PyType>,
    item: Py<PyType>,
    parent: Py<PyType>,
    position: Py<PyType>,
    own_event: Py<PyType>,
    peer_event: Py<PyType>,
    place: Py<PyType>,
    own_delivered: Py<PyType>,
    state: Py<PyType>,
    stored_sync_point: Py<PyType>,
    epoch_start: Py<PyType>,
    roster: Py<PyType>,
    seat: Py<PyType>,
    member: Py<PyType>,
    network: Py<PyType>,
    proved: Py<PyType>,
    proved_sync_point: Py<PyType>,
    proved_transaction: Py<PyType>,
    rejects: Numbered,
    outcomes: Numbered,
    flaws: Numbered,
}

impl Classes {
    /// The classes; the first call imports their modules.
    pub(crate) fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();
        CLASSES.get_or_try_init(py, || Self::import(py))
    }

    fn import(py: Python<'_>) -> PyResult<Self> {
        let class = |module: &str, name: &str| -> PyResult<Py<PyType>> {
            let found = py.import(format!("syncpoint.core.{module}"))?.getattr(name)?;
            Ok(found.cast_into::<PyType>()?.unbind())
        };
        Ok(Self {
            start: class("input", "Start")?,
            received: class("input", "Received")?,
            submit: class("input", "Submit")?,
            propose: class("input", "Propose")?,
            vote: class("input", "Vote")?,
            attest: class("input", "Attest")?,
            certify: class("input", "Certify")?,
            next_key: class("input", "NextKey")?,
            persisted: class("input", "Persisted")?,
            connected: class("input", "Connected")?,
            disconnected: class("input", "Disconnected")?,
            persist: class("output", "Persist")?,
            write: class("output", "Write")?,
            send_stored: class("output", "SendStored")?,
            send: class("output", "Send")?,
            broadcast: class("output", "Broadcast")?,
            deliver: class("output", "Deliver")?,
            opened: class("output", "Opened")?,
            closed: class("output", "Closed")?,
            certified: class("output", "Certified")?,
            diverged: class("output", "Diverged")?,
            entered: class("output", "Entered")?,
            certificate: class("checkpoint", "Certificate")?,
            divergence: class("checkpoint", "Divergence")?,
            queue: class("output", "Queue")?,
            wake: class("output", "Wake")?,
            rejected: class("output", "Rejected")?,
            halted: class("output", "Halted")?,
            status: class("status", "Status")?,
            item: class("values", "Item")?,
            parent: class("values", "Parent")?,
            position: class("journal", "Position")?,
            own_event: class("journal", "OwnEvent")?,
            peer_event: class("journal", "PeerEvent")?,
            place: class("journal", "Place")?,
            own_delivered: class("journal", "OwnDelivered")?,
            state: class("journal", "State")?,
            stored_sync_point: class("journal", "StoredSyncPoint")?,
            epoch_start: class("journal", "EpochStart")?,
            roster: class("roster", "Roster")?,
            seat: class("roster", "Seat")?,
            member: class("config", "Member")?,
            network: class("config", "Network")?,
            proved: class("proof", "Proved")?,
            proved_sync_point: class("proof", "ProvedSyncPoint")?,
            proved_transaction: class("proof", "ProvedTransaction")?,
            rejects: Numbered::of(class("error", "Reject")?.bind(py))?,
            outcomes: Numbered::of(class("epoch", "Outcome")?.bind(py))?,
            flaws: Numbered::of(class("proof", "Flaw")?.bind(py))?,
        })
    }

    /// The member of the Python enumeration.
    pub(crate) fn reject<'py>(&self, py: Python<'py>, code: Reject) -> PyResult<Bound<'py, PyAny>> {
        self.rejects.get(py, code as u8, code)
    }

    /// An item of an event.
    pub(crate) fn item<'py>(&self, py: Python<'py>, item: &Item) -> PyResult<Bound<'py, PyAny>> {
        self.item.bind(py).call1((item.r#type, PyBytes::new(py, &item.body)))
    }

    /// A reference to an event.
    pub(crate) fn parent<'py>(&self, py: Python<'py>, parent: &Parent) -> PyResult<Bound<'py, PyAny>> {
        self.parent.bind(py).call1((parent.creator, parent.round, PyBytes::new(py, &parent.digest)))
    }

    /// What a record of the journal says.
    pub(crate) fn record<'py>(&self, py: Python<'py>, record: &Record) -> PyResult<Bound<'py, PyAny>> {
        match record {
            Record::OwnEvent(record) => self.own_event(py, record),
            Record::PeerEvent(record) => self.peer_event.bind(py).call1((PyBytes::new(py, &record.frame),)),
            Record::Place(at) => {
                let order_hash = PyBytes::new(py, &at.order_hash);
                self.place.bind(py).call1((at.round, at.next_index, at.consensus_at, order_hash))
            }
            Record::OwnDelivered(record) => self.own_delivered.bind(py).call1((record.of_height,)),
            Record::State(record) => self.state.bind(py).call1((PyBytes::new(py, &record.state),)),
            Record::SyncPoint(record) => self.sync_point(py, record),
            Record::Epoch(start) => self.epoch_start(py, start),
        }
    }

    /// The member of the Python enumeration.
    pub(crate) fn flaw<'py>(&self, py: Python<'py>, flaw: Flaw) -> PyResult<Bound<'py, PyAny>> {
        self.flaws.get(py, flaw as u8, flaw)
    }

    /// What a proof proves.
    pub(crate) fn proved<'py>(&self, py: Python<'py>, proved: &Proved<'_>) -> PyResult<Bound<'py, PyAny>> {
        let what = match &proved.what {
            What::SyncPoint(point) => self.proved_sync_point.bind(py).call1((
                point.kind,
                point.epoch_index,
                PyBytes::new(py, &point.proposal),
                point.proposer,
                point.approvals,
                PyBytes::new(py, point.change),
                PyBytes::new(py, point.metadata),
                PyBytes::new(py, &point.digest),
            )),
            What::Transaction(found) => self.proved_transaction.bind(py).call1((
                PyBytes::new(py, found.transaction),
                found.depth,
                found.turns,
                found.creator,
                found.round,
                found.created_at,
                PyBytes::new(py, &found.digest),
            )),
        };
        let keys =
            |publics: &[[u8; PUBLIC_BYTES]]| PyTuple::new(py, publics.iter().map(|public| PyBytes::new(py, public)));
        self.proved.bind(py).call1((
            what?,
            proved.index,
            proved.consensus_at,
            PyBytes::new(py, &proved.order_hash),
            proved.checkpoint,
            PyBytes::new(py, &proved.checkpoint_hash),
            PyBytes::new(py, &proved.state_hash),
            proved.signers,
            proved.epoch,
            keys(&proved.creators)?,
            proved.checkpoint_epoch,
            keys(&proved.voters)?,
        ))
    }

    fn sync_point<'py>(&self, py: Python<'py>, record: &StoredSyncPoint) -> PyResult<Bound<'py, PyAny>> {
        self.stored_sync_point.bind(py).call1((
            record.kind,
            record.epoch_index,
            PyBytes::new(py, &record.proposal),
            record.proposer,
            record.approvals,
            PyBytes::new(py, &record.session_id),
            PyBytes::new(py, &record.metadata),
            PyBytes::new(py, &record.change),
        ))
    }

    fn epoch_start<'py>(&self, py: Python<'py>, start: &EpochStart) -> PyResult<Bound<'py, PyAny>> {
        let seats = start.roster.seats.iter().map(|seat| self.seat(py, seat));
        let seats = PyTuple::new(py, seats.collect::<PyResult<Vec<_>>>()?)?;
        let roster =
            self.roster.bind(py).call1((self.network(py, &start.roster.network)?, seats, start.roster.last_number))?;
        self.epoch_start.bind(py).call1((
            start.number,
            PyBytes::new(py, &start.epoch_id),
            start.next_index,
            start.consensus_at,
            PyBytes::new(py, &start.order_hash),
            roster,
            PyTuple::new(py, &start.reached)?,
            PyBytes::new(py, &start.state),
            PyBytes::new(py, &start.transition),
        ))
    }

    fn seat<'py>(&self, py: Python<'py>, seat: &Seat) -> PyResult<Bound<'py, PyAny>> {
        let member = self.member.bind(py).call1((PyBytes::new(py, &seat.member.public), seat.member.flags))?;
        self.seat.bind(py).call1((seat.number, member, PyBytes::new(py, &seat.contact)))
    }

    fn network<'py>(&self, py: Python<'py>, network: &Network) -> PyResult<Bound<'py, PyAny>> {
        let fields = PyDict::new(py);
        fields.set_item("name", &network.name)?;
        fields.set_item("rule", RULES[network.rule as usize])?;
        fields.set_item("order", ORDERS[network.order as usize])?;
        fields.set_item("f", network.f)?;
        fields.set_item("gc_depth", network.gc_depth)?;
        fields.set_item("max_payload_bytes", network.max_payload_bytes)?;
        fields.set_item("max_ahead", network.max_ahead)?;
        fields.set_item("epoch_ms", network.epoch_ms)?;
        self.network.bind(py).call((), Some(&fields))
    }

    fn opened<'py>(&self, py: Python<'py>, ballot: &Ballot, voted: bool) -> PyResult<Bound<'py, PyAny>> {
        let proposal = &ballot.proposal;
        self.opened.bind(py).call1((
            PyBytes::new(py, &ballot.id),
            ballot.proposer,
            proposal.kind,
            proposal.deadline,
            proposal.salt,
            PyBytes::new(py, &proposal.metadata),
            PyBytes::new(py, &proposal.change),
            voted,
        ))
    }

    fn own_event<'py>(&self, py: Python<'py>, record: &OwnEvent) -> PyResult<Bound<'py, PyAny>> {
        let position = self.position.bind(py);
        let taken_over = record.taken_over.iter().map(|taken| position.call1((taken.height, taken.place)));
        let taken_over = PyTuple::new(py, taken_over.collect::<PyResult<Vec<_>>>()?)?;
        self.own_event.bind(py).call1((taken_over, PyBytes::new(py, &record.frame)))
    }
}

// -- numbers and bytes --------------------------------------------------------------------------------

/// An integer of 0 to `high`.
pub(crate) fn number(what: &str, value: &Bound<'_, PyAny>, high: u64) -> PyResult<u64> {
    if !value.is_instance_of::<PyInt>() {
        return Err(type_error(value.py(), format!("{what} is {}: give an integer", value.repr()?)));
    }
    match value.extract::<u64>() {
        Ok(number) if number <= high => Ok(number),
        _ => Err(argument_error(value.py(), format!("{what} is {value}: give 0 to {high}"))),
    }
}

/// 32 bytes.
pub(crate) fn digest(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Digest> {
    let bytes = exactly_bytes(what, value)?;
    bytes.as_bytes().try_into().map_err(|_| {
        let size = bytes.as_bytes().len();
        argument_error(value.py(), format!("{what} has {size} bytes: give 32"))
    })
}

/// An Ed25519 secret.
pub(crate) fn seed(py: Python<'_>, seed: &[u8]) -> PyResult<[u8; SEED_BYTES]> {
    seed.try_into().map_err(|_| {
        let text = format!(
            "the seed has {} bytes; an Ed25519 seed has exactly {SEED_BYTES}: \
             give 32 random bytes, for instance those of KeySecret.generate()",
            seed.len()
        );
        argument_error(py, text)
    })
}

/// The memory of a Python `bytes`, kept alive by the core as long as it needs it; nothing is copied.
pub(crate) fn shared(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    Ok(Bytes::from_owner(PyBackedBytes::from(exactly_bytes(what, value)?.clone())))
}

fn exactly_bytes<'a, 'py>(what: &str, value: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    value.cast_exact::<PyBytes>().map_err(|_| {
        let text = format!("{what} is a {}: give bytes", type_name(value));
        type_error(value.py(), text)
    })
}

pub(crate) fn all_shared(what: &str, values: &Bound<'_, PyAny>) -> PyResult<Vec<Bytes>> {
    lasting(what, values)?.map(|value| shared(what, &value?)).collect()
}

/// The attachments of an event: (type, body) of each.
pub(crate) fn items(values: &Bound<'_, PyAny>) -> PyResult<Vec<Item>> {
    let item = |value: Bound<'_, PyAny>| {
        let (kind, body): (Bound<'_, PyAny>, Bound<'_, PyAny>) = value.extract()?;
        let r#type = number("an item's type", &kind, u64::from(u16::MAX))? as u16;
        Ok(Item { r#type, body: shared("an item's body", &body)? })
    };
    values.try_iter()?.map(|value| item(value?)).collect()
}

/// What goes over values that are there also after that: the other core looks at them twice.
fn lasting<'py>(what: &str, values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyIterator>> {
    let each = values.try_iter()?;
    if each.is(values) {
        let text = format!("{what} is in a {}: give a list or a tuple", type_name(values));
        return Err(type_error(values.py(), text));
    }
    Ok(each)
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "thing without a name".to_owned(), |name| name.to_string())
}

// -- configuration ------------------------------------------------------------------------------------

/// A Python `Network`.
pub(crate) fn network(value: &Bound<'_, PyAny>) -> PyResult<Network> {
    let f = value.getattr("f")?;
    Ok(Network {
        name: value.getattr("name")?.extract()?,
        rule: rule(&value.getattr("rule")?)?,
        order: order(&value.getattr("order")?)?,
        f: if f.is_none() { None } else { Some(number("Network.f", &f, u64::from(u16::MAX))? as usize) },
        gc_depth: attribute(value, "Network", "gc_depth")?,
        max_payload_bytes: attribute(value, "Network", "max_payload_bytes")? as usize,
        max_ahead: attribute(value, "Network", "max_ahead")?,
        epoch_ms: attribute(value, "Network", "epoch_ms")?,
    })
}

/// One of the rules by its name.
pub(crate) fn rule(value: &Bound<'_, PyAny>) -> PyResult<Rule> {
    Ok([Rule::TwoStep, Rule::ThreeStep][choice("rule", value, &RULES)?])
}

/// One of the orders by its name.
pub(crate) fn order(value: &Bound<'_, PyAny>) -> PyResult<Order> {
    Ok([Order::Fair, Order::Fast][choice("order", value, &ORDERS)?])
}

/// How events are signed, by its name.
pub(crate) fn signatures(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Signatures> {
    Ok([Signatures::Ed25519, Signatures::Simulated][choice(what, value, &SIGNATURES)?])
}

fn choice(what: &str, value: &Bound<'_, PyAny>, names: &[&str]) -> PyResult<usize> {
    let given: Option<String> = value.cast::<PyString>().ok().map(|text| text.to_string());
    let place = given.and_then(|given| names.iter().position(|name| *name == given));
    place.ok_or_else(|| match value.repr() {
        Ok(shown) => argument_error(value.py(), format!("{what} is {shown}: give one of {}", names.join(", "))),
        Err(error) => error,
    })
}

/// Python `Member`s.
pub(crate) fn members(values: &Bound<'_, PyAny>) -> PyResult<Vec<Member>> {
    let member = |value: Bound<'_, PyAny>| {
        Ok(Member {
            public: digest("Member.public", &value.getattr("public")?)?,
            flags: number("Member.flags", &value.getattr("flags")?, u64::from(u8::MAX))? as u8,
        })
    };
    values.try_iter()?.map(|value| member(value?)).collect()
}

/// A Python `MachineConfig`.
pub(crate) fn machine_config(value: &Bound<'_, PyAny>) -> PyResult<MachineConfig> {
    let py = value.py();
    let local = value.getattr("local")?;
    let (secret, next_secret) = (value.getattr("seed")?, value.getattr("next_seed")?);
    Ok(MachineConfig {
        network: network(&value.getattr("network")?)?,
        members: members(&value.getattr("members")?)?,
        seed: seed(py, exactly_bytes("MachineConfig.seed", &secret)?.as_bytes())?,
        entropy: digest("MachineConfig.entropy", &value.getattr("entropy")?)?,
        local: Local {
            min_event_interval_ns: attribute(&local, "Local", "min_event_interval_ns")?,
            heartbeat_ns: attribute(&local, "Local", "heartbeat_ns")?,
            retain_events: attribute(&local, "Local", "retain_events")?,
            retain_bytes: attribute(&local, "Local", "retain_bytes")?,
            pool_bytes_per_sender: attribute(&local, "Local", "pool_bytes_per_sender")?,
            verify_threads: attribute(&local, "Local", "verify_threads")? as usize,
            stores: local.getattr("stores")?.is_truthy()?,
        },
        joins: value.getattr("joins")?.is_truthy()?,
        next_seed: if next_secret.is_none() { None } else { Some(digest("MachineConfig.next_seed", &next_secret)?) },
        signatures: signatures("MachineConfig.signatures", &value.getattr("signatures")?)?,
    })
}

fn attribute(value: &Bound<'_, PyAny>, class: &str, name: &str) -> PyResult<u64> {
    number(&format!("{class}.{name}"), &value.getattr(name)?, i64::MAX as u64)
}

// -- inputs -------------------------------------------------------------------------------------------

/// What happened.
pub(crate) fn inputs(values: &Bound<'_, PyAny>) -> PyResult<Vec<Input>> {
    let classes = Classes::get(values.py())?;
    lasting("an input", values)?.map(|value| input(classes, &value?)).collect()
}

fn input(classes: &Classes, value: &Bound<'_, PyAny>) -> PyResult<Input> {
    let py = value.py();
    let class = value.get_type();
    let peer = |what: &str| -> PyResult<usize> {
        Ok(number(what, &value.getattr(intern!(py, "peer"))?, MAX_PEERS as u64 - 1)? as usize)
    };
    if class.is(&classes.received) {
        let peer = peer("Received.peer")?;
        return Ok(Input::Received { peer, frames: all_shared("a frame", &value.getattr(intern!(py, "frames"))?)? });
    }
    if class.is(&classes.submit) {
        let transactions = all_shared("a transaction", &value.getattr(intern!(py, "transactions"))?)?;
        return Ok(Input::Submit { transactions });
    }
    if class.is(&classes.persisted) {
        let token = number("Persisted.token", &value.getattr(intern!(py, "token"))?, u64::MAX)?;
        return Ok(Input::Persisted { token });
    }
    if class.is(&classes.propose) {
        let body = shared("Propose.body", &value.getattr(intern!(py, "body"))?)?;
        if decode_proposal(&body).is_none() {
            let text = format!("Propose.body has {} bytes: give what encode_proposal gives", body.len());
            return Err(argument_error(py, text));
        }
        return Ok(Input::Propose { body });
    }
    if class.is(&classes.vote) {
        let proposal = digest("Vote.proposal", &value.getattr(intern!(py, "proposal"))?)?;
        return Ok(Input::Vote { proposal, approves: value.getattr(intern!(py, "approves"))?.is_truthy()? });
    }
    if class.is(&classes.attest) {
        let index = number("Attest.index", &value.getattr(intern!(py, "index"))?, u64::MAX)?;
        let state_hash = digest("Attest.state_hash", &value.getattr(intern!(py, "state_hash"))?)?;
        return Ok(Input::Attest { index, state_hash });
    }
    if class.is(&classes.certify) {
        return Ok(Input::Certify { index: number("Certify.index", &value.getattr(intern!(py, "index"))?, u64::MAX)? });
    }
    if class.is(&classes.next_key) {
        return Ok(Input::NextKey { seed: digest("NextKey.seed", &value.getattr(intern!(py, "seed"))?)? });
    }
    if class.is(&classes.connected) {
        return Ok(Input::Connected { peer: peer("Connected.peer")? });
    }
    if class.is(&classes.disconnected) {
        return Ok(Input::Disconnected { peer: peer("Disconnected.peer")? });
    }
    if class.is(&classes.start) {
        let records = all_shared("a record", &value.getattr(intern!(py, "records"))?)?;
        return Ok(Input::Start { records, whole: value.getattr(intern!(py, "whole"))?.is_truthy()? });
    }
    let text = format!("an input is a {}: give those of syncpoint.core.input", type_name(value));
    Err(type_error(py, text))
}

// -- outputs and status -------------------------------------------------------------------------------

/// What is to be done about it.
pub(crate) fn outputs(py: Python<'_>, outputs: Vec<Output>) -> PyResult<Bound<'_, PyList>> {
    let classes = Classes::get(py)?;
    let list = PyList::empty(py);
    for one in outputs {
        list.append(output(py, classes, one)?)?;
    }
    Ok(list)
}

fn output<'py>(py: Python<'py>, classes: &Classes, output: Output) -> PyResult<Bound<'py, PyAny>> {
    match output {
        Output::Persist { token, records } => {
            let records = PyList::new(py, records.iter().map(|record| PyBytes::new(py, record)))?;
            classes.persist.bind(py).call1((token, records))
        }
        Output::Write { records } => {
            let records = PyList::new(py, records.iter().map(|record| PyBytes::new(py, record)))?;
            classes.write.bind(py).call1((records,))
        }
        Output::Send { peer, frame } => classes.send.bind(py).call1((peer, PyBytes::new(py, &frame))),
        Output::SendStored { peer, epoch, first, frontier, most, last } => {
            let frontier = PyTuple::new(py, frontier)?;
            classes.send_stored.bind(py).call1((peer, epoch, first, frontier, most, PyBytes::new(py, &last)))
        }
        Output::Broadcast { frame } => classes.broadcast.bind(py).call1((PyBytes::new(py, &frame),)),
        Output::Deliver { messages, states } => {
            let list = PyList::empty(py);
            for message in messages {
                match message {
                    Message::Event(done) => list.append(Bound::new(py, Delivered::new(done))?)?,
                    Message::SyncPoint(point) => list.append(Bound::new(py, SyncPoint::new(point))?)?,
                }
            }
            let states = PyList::new(py, states.iter().map(|(round, state)| (*round, PyBytes::new(py, state))))?;
            classes.deliver.bind(py).call1((list, states))
        }
        Output::Opened { ballot, voted } => classes.opened(py, &ballot, voted),
        Output::Closed { proposal, outcome } => {
            let outcome = classes.outcomes.get(py, outcome as u8, outcome)?;
            classes.closed.bind(py).call1((PyBytes::new(py, &proposal), outcome))
        }
        Output::Certified { certificate: made } => {
            let (order_hash, state_hash) = (PyBytes::new(py, &made.order_hash), PyBytes::new(py, &made.state_hash));
            let signatures = PyBytes::new(py, &made.signatures);
            let fields = (made.wanted, made.index, order_hash, state_hash, made.signers, signatures, made.epoch);
            classes.certified.bind(py).call1((classes.certificate.bind(py).call1(fields)?,))
        }
        Output::Diverged { divergence: found } => {
            let (ours, theirs) = (PyBytes::new(py, &found.ours), PyBytes::new(py, &found.theirs));
            let fields = (found.index, ours, theirs, found.is_state);
            classes.diverged.bind(py).call1((classes.divergence.bind(py).call1(fields)?,))
        }
        Output::Entered { start } => classes.entered.bind(py).call1((classes.epoch_start(py, &start)?,)),
        Output::Queue { transactions, bytes } => classes.queue.bind(py).call1((transactions, bytes)),
        Output::Wake { at } => classes.wake.bind(py).call1((at,)),
        Output::Rejected { peer, code } => classes.rejected.bind(py).call1((peer, classes.reject(py, code)?)),
        Output::Halted { reason } => classes.halted.bind(py).call1((reason,)),
    }
}

/// A snapshot.
pub(crate) fn status(py: Python<'_>, status: Status) -> PyResult<Bound<'_, PyAny>> {
    let classes = Classes::get(py)?;
    let rejects = PyDict::new(py);
    for (code, times) in status.rejects {
        rejects.set_item(classes.reject(py, code)?, times)?;
    }
    let fields = PyDict::new(py);
    fields.set_item("creator", status.creator)?;
    fields.set_item("epoch", status.epoch)?;
    fields.set_item("peers", status.peers)?;
    fields.set_item("linked", PyTuple::new(py, status.linked)?)?;
    fields.set_item("has_quorum", status.has_quorum)?;
    fields.set_item("halted", status.halted)?;
    fields.set_item("recovering", status.recovering)?;
    fields.set_item("catching_up", status.catching_up)?;
    fields.set_item("stranded", status.stranded)?;
    fields.set_item("own_round", status.own_round)?;
    fields.set_item("top_round", status.top_round)?;
    fields.set_item("peers_round", status.peers_round)?;
    fields.set_item("closed_round", status.closed_round)?;
    fields.set_item("floor_round", status.floor_round)?;
    fields.set_item("frontier", PyTuple::new(py, status.frontier)?)?;
    fields.set_item("events", status.events)?;
    fields.set_item("delivered", status.delivered)?;
    fields.set_item("epoch_index", status.epoch_index)?;
    fields.set_item("proposals", status.proposals)?;
    fields.set_item("ended", status.ended)?;
    fields.set_item("order_hash", PyBytes::new(py, &status.order_hash))?;
    fields.set_item("consensus_at", status.consensus_at)?;
    fields.set_item("queued_transactions", status.queued_transactions)?;
    fields.set_item("queued_bytes", status.queued_bytes)?;
    fields.set_item("undelivered", status.undelivered)?;
    fields.set_item("waiting_events", status.waiting_events)?;
    fields.set_item("waiting_bytes", status.waiting_bytes)?;
    fields.set_item("wanted_events", status.wanted_events)?;
    fields.set_item("timely", PyTuple::new(py, status.timely)?)?;
    fields.set_item("equivocators", PyTuple::new(py, status.equivocators)?)?;
    fields.set_item("soft_wait_ns", status.soft_wait_ns)?;
    fields.set_item("round_timeout_ns", status.round_timeout_ns)?;
    fields.set_item("timeouts", status.timeouts)?;
    fields.set_item("own_events", status.own_events)?;
    fields.set_item("resubmitted", status.resubmitted)?;
    fields.set_item("commits", status.commits)?;
    fields.set_item("skips", status.skips)?;
    fields.set_item("rejects", rejects)?;
    classes.status.bind(py).call((), Some(&fields))
}

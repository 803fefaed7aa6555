"""One agreed order for processes that do not trust each other.

Start an `Engine` in each process, send transactions, receive the same stream of `Event`s everywhere, final two
message delays after they were made (three in fair order), with fewer than a third of the peers lying or dead.
"""

from . import base58
from ._version import __version__
from .backend import CoreInfo, core_info, load_core
from .context import Context
from .core.config import Network
from .core.epoch import Outcome
from .core.error import Reject
from .core.proof import Flaw
from .core.status import Status
from .core.values import SyncPointKind
from .engine import Engine
from .errors import (
    ArgumentError,
    ArgumentTypeError,
    Base58Error,
    ContextError,
    CoreUnavailable,
    CorruptError,
    DivergenceError,
    EngineStopped,
    KeyFileError,
    KeyFormatError,
    NotAMember,
    ObserverError,
    ProofError,
    ProofUnavailable,
    ProposalRejected,
    QueueFull,
    SocketBindError,
    StorageError,
    SyncpointError,
    TransactionTooLarge,
)
from .genesis import Genesis, GenesisPeer
from .keys import KeyPublic, KeySecret
from .message import Event, Message, Receipt, SyncPoint, Transaction
from .options import Options
from .peers import Peer, PeerCapabilities, Peers
from .proof import Proof, Proved, ProvedSyncPoint, ProvedTransaction
from .proposal import Proposal
from .record import PeerRecord
from .socket import Socket
from .status import EngineStatus

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "Base58Error",
    "Context",
    "ContextError",
    "CoreInfo",
    "CoreUnavailable",
    "CorruptError",
    "DivergenceError",
    "Engine",
    "EngineStatus",
    "EngineStopped",
    "Event",
    "Flaw",
    "Genesis",
    "GenesisPeer",
    "KeyFileError",
    "KeyFormatError",
    "KeyPublic",
    "KeySecret",
    "Message",
    "Network",
    "NotAMember",
    "ObserverError",
    "Options",
    "Outcome",
    "Peer",
    "PeerCapabilities",
    "PeerRecord",
    "Peers",
    "Proof",
    "ProofError",
    "ProofUnavailable",
    "Proposal",
    "ProposalRejected",
    "Proved",
    "ProvedSyncPoint",
    "ProvedTransaction",
    "QueueFull",
    "Receipt",
    "Reject",
    "Socket",
    "SocketBindError",
    "Status",
    "StorageError",
    "SyncPoint",
    "SyncPointKind",
    "SyncpointError",
    "Transaction",
    "TransactionTooLarge",
    "__version__",
    "base58",
    "core_info",
    "load_core",
]

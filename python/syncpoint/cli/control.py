"""The control socket of a running peer: where it lies, who may use it, and how a command asks there.

One connection is one question and one answer, each a JSON object in one line. The socket is for its owner alone: by
its mode, by the folder that it lies in, and by the credentials of whoever connects where the system tells them.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ArgumentError
from ..keys import KeyPublic

__all__ = [
    "ANSWER_TIMEOUT_S",
    "DECISION_GRACE_S",
    "MAX_REQUEST_BYTES",
    "ControlFile",
    "StoreFolder",
    "ask",
    "check_folder",
    "default_path",
    "encode",
    "find_socket",
    "is_trusted",
]

Json = dict[str, Any]

MAX_REQUEST_BYTES = 16_384  # the largest metadata fits, in base64
MAX_ANSWER_BYTES = 33_554_432  # all the proposals that can be open at once fit, each with the largest metadata
ANSWER_TIMEOUT_S = 10.0  # for an answer that waits for nothing
DECISION_GRACE_S = 30.0  # behind the deadline of a proposal, for the order to get there
SUFFIX = ".sock"
KEY_CHARACTERS = 12  # of a key in the name of its socket: a socket's whole path has room for a hundred or so
READ_BYTES = 65_536

ControlFile = Annotated[
    Path | None,
    typer.Option("--control", metavar="PATH", help="The control socket of the running peer; it says where it is."),
]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", metavar="FOLDER", help="The folder of its store, or of its key file if it has no store."),
]


def default_path(store: Path | None, key: Path, public: KeyPublic) -> Path:
    """Where a peer has its control socket unless it is told: in the folder of its store, else beside its key file."""
    if store is None:
        return key.with_name(key.name + SUFFIX)
    return store / f"{str(public)[:KEY_CHARACTERS]}{SUFFIX}"


def find_socket(control: Path | None, store: Path | None) -> Path:
    """The socket that a command's options mean; ArgumentError where there is none, or more than one."""
    if control is not None and store is not None:
        raise ArgumentError("--control and --store are both given: give one of them")
    if control is not None:
        return control
    if store is None:
        raise ArgumentError(
            "which peer? give --store with the folder of its store, or of its key file where it has no store; or "
            "--control with the socket that 'syncpoint run' named at its start"
        )
    if not store.is_dir():
        raise ArgumentError(f"--store: {store} is no folder: give the one that 'syncpoint run' has")
    found = sorted(store.glob(f"*{SUFFIX}"))
    if not found:
        raise ArgumentError(
            f"no peer runs with {store}: there is no control socket in it. Start it ('syncpoint run --store {store} "
            "...'), or give --control with the socket that it named at its start"
        )
    if len(found) > 1:
        raise ArgumentError(
            f"{store} has {len(found)} control sockets: give --control with one of "
            f"{', '.join(str(each) for each in found)}"
        )
    return found[0]


def check_folder(folder: Path) -> None:
    """Refuse a folder in which somebody else could put another socket in the place of ours; ArgumentError."""
    if os.name != "posix":
        return
    status = folder.stat()
    if status.st_uid not in (os.geteuid(), 0):
        raise ArgumentError(
            f"{folder} belongs to another user, who could replace a control socket in it: use a folder of your own"
        )
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise ArgumentError(
            f"others may write in {folder} (mode {stat.S_IMODE(status.st_mode):04o}), so they could replace a control "
            f"socket in it: chmod go-w {folder}"
        )


def is_trusted(connection: socket.socket) -> bool:
    """Whether the other side is our own user or root, as far as the system tells; else the file's mode has to do."""
    option = getattr(socket, "SO_PEERCRED", None)  # Linux
    if option is None:
        return True
    layout = struct.Struct("3i")
    _, user, _ = layout.unpack(connection.getsockopt(socket.SOL_SOCKET, option, layout.size))
    return user in (os.geteuid(), 0)


def encode(message: Mapping[str, object]) -> bytes:
    """One line."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def ask(path: Path, request: Mapping[str, object], timeout_s: float = ANSWER_TIMEOUT_S) -> Json:
    """Ask a running peer, and wait for its answer; ArgumentError where it does not run or refuses what was asked.

    An answer to a proposal has an `outcome`, any other one means that all is well.
    """
    deadline = time.monotonic() + timeout_s
    with _connected(path) as connection:
        try:
            connection.settimeout(timeout_s)
            connection.sendall(encode(request))
            line = _read_line(connection, deadline)
        except TimeoutError:
            raise ArgumentError(f"{path}: the peer did not answer in {timeout_s:g} s: see what it says") from None
        except OSError:
            line = b""
    if not line.endswith(b"\n"):
        raise ArgumentError(f"{path}: the peer ended, or has no room for another question, before it answered")
    answer: Json = json.loads(line)
    if (error := answer.get("error")) is not None:
        raise ArgumentError(error)
    return answer


def _connected(path: Path) -> socket.socket:
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise ArgumentError("this system has no UNIX sockets in Python, and so no control sockets")
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        check_folder(path.parent)
        connection.settimeout(ANSWER_TIMEOUT_S)
        connection.connect(os.fspath(path))
        # What answers is told what to do with our key; a stranger's socket is not.
        if os.geteuid() != 0 and not is_trusted(connection):
            raise ArgumentError(f"{path}: another user listens there: it is not the socket of a peer of ours")
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise ArgumentError(_why_unreachable(path, error)) from None
        raise
    return connection


def _why_unreachable(path: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return (
                f"no peer runs with the control socket {path}: nothing is there. Start it ('syncpoint run'), or "
                "give the path that it named at its start"
            )
        case ConnectionRefusedError():
            return f"no peer runs with the control socket {path} any more: start it again, it replaces the file"
        case PermissionError():
            return f"{path} is for its owner alone: run this as the user that the peer runs as"
    return f"{path} cannot be asked: {error.strerror or error}"


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while size <= MAX_ANSWER_BYTES:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(READ_BYTES)
        pieces.append(piece)
        size += len(piece)
        if not piece or piece.endswith(b"\n"):
            break
    return b"".join(pieces)

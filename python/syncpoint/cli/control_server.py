"""The control socket of a running peer, on the peer's side: takes questions, and asks the engine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import socket
import stat
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.values import SyncPointKind
from ..engine import Engine
from ..errors import ArgumentError, ProposalRejected, StorageError, SyncpointError
from ..genesis import Genesis
from ..keys import KeyPublic, KeySecret
from ..message import SyncPoint
from ..proposal import Proposal, check_proposal, check_timeout
from ..record import PeerRecord
from ..runtime.lock import FileLock
from .change import AUTO, SETTINGS, capabilities_of
from .control import DECISION_GRACE_S, MAX_REQUEST_BYTES, check_folder, encode, is_trusted
from .guard import note, one_line
from .network_view import flags_of
from .proposal_view import change_of

__all__ = ["controlled", "point_fields"]

Json = dict[str, Any]

MAX_CONNECTIONS = 32
REQUEST_TIMEOUT_S = 5.0  # for a question to come, and for its answer to be taken
CLOSE_TIMEOUT_S = 1.0  # for the last answers to be taken
CALL = re.compile(r"^Engine\.\w+: ")  # of no interest to who gave a command
COMMANDS = {  # by what messages name for programs
    "Engine.peers": "'syncpoint members'",
    "at most, or None": f"at most, or {AUTO}",
    "Engine.vote_add_node(its address, PeerRecord.of(its secret))": "'syncpoint change add'",
}
LEAST_PREFIX = 4  # hexadecimal digits of an id that a vote needs


@contextlib.asynccontextmanager
async def controlled(path: Path, is_wanted: bool, engine: Engine, genesis: Genesis) -> AsyncIterator[Path | None]:
    """Take questions at a path while the block lasts; gives the path, None where no socket can be.

    Where no socket can be there that is an ArgumentError if it `is_wanted` there, else a note: a peer runs without
    one, too. A path with the socket of a peer that runs is an ArgumentError in any case.
    """
    server = _Server(path, engine, genesis)
    try:
        server.open()
    except StorageError:
        raise ArgumentError(
            f"{path} is the control socket of a peer that runs: give this one another --control PATH"
        ) from None
    except (ArgumentError, OSError) as error:
        if is_wanted:
            raise
        note(f"no control socket, so no 'syncpoint propose', 'change', 'vote' and 'members': {one_line(error)}")
        yield None
        return
    note(f"control socket {path}")
    accepting = asyncio.create_task(server.accept())
    try:
        yield path
    finally:
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        await server.close()


class _Server:
    """Listens, and answers one question on each connection."""

    def __init__(self, path: Path, engine: Engine, genesis: Genesis) -> None:
        self._path = path
        self._engine = engine
        self._genesis = genesis
        # Held as long as we listen: a socket file without it is one of a process that has died.
        self._lock = FileLock(path.with_name(path.name + ".lock"), path)
        self._listening: socket.socket | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def open(self) -> None:
        """Listen. StorageError when another process does, ArgumentError or OSError where that cannot be."""
        family = getattr(socket, "AF_UNIX", None)
        if family is None:
            raise ArgumentError("this system has no UNIX sockets in Python")
        check_folder(self._path.parent)
        self._lock.take()
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            self._remove_stale()
            try:
                listening.bind(os.fspath(self._path))
            except OSError as error:
                if error.errno is not None:
                    raise
                length = len(os.fsencode(self._path))  # without a number it is the length that is wrong
                raise ArgumentError(
                    f"{self._path} has {length} bytes, too many for a socket: give --control a shorter path"
                ) from None
            self._path.chmod(0o600)  # before it can be connected to
            listening.listen(MAX_CONNECTIONS)
        except BaseException:
            listening.close()
            self._lock.release()
            raise
        self._listening = listening

    async def accept(self) -> None:
        """Take connections, those of our own user alone, until cancelled."""
        assert self._listening is not None
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listening)
            connection.setblocking(False)
            if not is_trusted(connection) or len(self._serving) >= MAX_CONNECTIONS:
                connection.close()
                continue
            task = loop.create_task(self._serve(connection))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def close(self) -> None:
        """Listen no more, and give the last answers."""
        assert self._listening is not None
        self._listening.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._closing.set()
        if self._serving:
            await asyncio.wait(self._serving, timeout=CLOSE_TIMEOUT_S)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._lock.release()

    def _remove_stale(self) -> None:
        """Remove what a dead process left behind; nothing else is touched."""
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise ArgumentError(f"{self._path} is there and is no socket: give --control another path")
            self._path.unlink()

    # -- private: one question ------------------------------------------------------------------------

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        # Where it is too slow, or gone, there is nobody to be told.
        with connection, contextlib.suppress(TimeoutError, OSError):
            line = await asyncio.wait_for(_read_line(connection), REQUEST_TIMEOUT_S)
            answer = encode(await self._answer(connection, line))
            await asyncio.wait_for(loop.sock_sendall(connection, answer), REQUEST_TIMEOUT_S)

    async def _answer(self, connection: socket.socket, line: bytes) -> Json:
        try:
            match _decode(line):
                case {"do": "propose", "kind": str(kind), "metadata": str(metadata), "timeout": timeout}:
                    return await self._propose(connection, kind, metadata, timeout)
                case {"do": "change", "what": str(what), "timeout": int() | float() as timeout, **rest}:
                    fields = {str(name): value for name, value in rest.items()}
                    check_timeout("propose", timeout)
                    return await self._decided(connection, self._change(what, fields, float(timeout)), float(timeout))
                case {"do": "vote", "proposal": str(prefix), "approve": bool(approve)}:
                    return self._vote(prefix, approve)
                case {"do": "proposals"}:
                    return {"proposals": [self._proposal(each) for each in self._engine.proposals]}
                case {"do": "members"}:
                    return self._members()
                case _:
                    raise ArgumentError("that is no question for a peer: install the same syncpoint for both")
        except (SyncpointError, ValueError) as error:
            text = CALL.sub("", one_line(error))
            for call, command in COMMANDS.items():
                text = text.replace(call, command)
            return {"error": text}

    async def _propose(self, connection: socket.socket, kind: str, metadata: str, timeout: float) -> Json:
        """Propose a sync point that changes nothing."""
        if kind not in SyncPointKind.__members__:
            raise ArgumentError(
                f"{kind!r} is no kind of a sync point: give one of {', '.join(SyncPointKind.__members__)}"
            )
        data = base64.b64decode(metadata, validate=True)
        checked, _, _ = check_proposal(SyncPointKind[kind], data, timeout)
        if checked is SyncPointKind.END:
            return await self._decided(connection, self._engine.vote_end_session(data, timeout), timeout)
        return await self._decided(connection, self._engine.propose(checked, data, timeout), timeout)

    async def _change(self, what: str, fields: Json, timeout: float) -> SyncPoint:
        """Propose other members, another key or other settings."""
        engine = self._engine
        match what, fields:
            case "add", {"address": str(address), "record": str(record), "capabilities": list(names)}:
                return await engine.vote_add_node(address, PeerRecord.parse(record), capabilities_of(names), timeout)
            case "remove", {"key": str(key)}:
                return await engine.vote_remove_node(KeyPublic.parse(key), timeout)
            case "rotate", {"file": str(file)}:
                return await engine.rotate_key(KeySecret.load(file), timeout)
            case "config", {"settings": dict(settings)} if settings.keys() <= set(SETTINGS):
                return await engine.change_options(replace(engine.network, **settings), timeout)
        raise ArgumentError("that is no change that a peer can ask for: install the same syncpoint for both")

    async def _decided(self, connection: socket.socket, wanted: Coroutine[Any, Any, SyncPoint], timeout: float) -> Json:
        """Wait for what comes of a proposal as long as somebody wants to know."""
        decided = asyncio.ensure_future(wanted)
        gone = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(connection, 1))
        closing = asyncio.ensure_future(self._closing.wait())
        tasks = (decided, gone, closing)
        try:
            await asyncio.wait(tasks, timeout=timeout + DECISION_GRACE_S, return_when=asyncio.FIRST_COMPLETED)
            if decided.done():
                return {"outcome": "ADOPTED", "sync_point": point_fields(decided.result())}
        except ProposalRejected as error:
            return {"outcome": error.outcome.name, "reason": error.reason}
        finally:
            for task in tasks:
                task.cancel()  # the proposal stands all the same
            await asyncio.gather(*tasks, return_exceptions=True)
        if closing.done():
            raise ArgumentError("the peer ended before it was known what comes of the proposal, which stands")
        return {
            "outcome": "UNDECIDED",
            "reason": "its deadline is over by our clock, and the order has not come so far: there is no quorum, see "
            "'syncpoint members'; the proposal stands",
        }

    def _vote(self, prefix: str, approve: bool) -> Json:
        proposals = self._engine.proposals
        found = [each for each in proposals if each.id.hex().startswith(prefix.lower())]
        if len(prefix) < LEAST_PREFIX:
            raise ArgumentError(f"{prefix!r} is too short: give {LEAST_PREFIX} digits of an id, or more")
        if len(found) != 1:
            raise ArgumentError(
                f"{len(found)} of the {len(proposals)} open proposals have an id that begins with {prefix!r}: "
                "'syncpoint vote' without an id lists those that are open; one that is decided takes no more votes"
            )
        self._engine.vote(found[0], approve)
        return {"proposal": self._proposal(found[0]), "approve": approve}

    def _proposal(self, proposal: Proposal) -> Json:
        return {
            "id": proposal.id.hex(),
            "kind": proposal.kind.name,
            "metadata": base64.b64encode(proposal.metadata).decode("ascii"),
            "proposer": str(proposal.proposer),
            "deadline": proposal.deadline,
            "changes": change_of(proposal, self._engine.network),
        }

    def _members(self) -> Json:
        status, committee = self._engine.status(), self._engine._membership.current.committee
        active = self._engine.active_creators()
        proposers = Counter(each.proposer for each in self._engine.proposals)
        frontier = status.consensus.frontier
        members = []
        for number, entry in enumerate(self._engine.peers):
            orders = number < committee.n  # observers come behind them, and make no events (Q4)
            members.append(
                {
                    "peer": number,
                    "key": str(entry.public),
                    "address": entry.address,
                    "capabilities": flags_of(entry),
                    "own": entry.public == self._engine.public,
                    "linked": entry.public in status.linked,
                    "refusal": status.refusals.get(entry.public),
                    "newest_round": frontier[number] if orders else None,
                    "active": entry.public in active if orders else None,
                    "proposals": proposers[entry.public],
                }
            )
        return {
            "network": self._engine.network.name,
            "n": committee.n,
            "f": committee.f,
            "q": committee.q,
            "has_quorum": status.consensus.has_quorum,
            "top_round": status.consensus.top_round,
            "members": members,
        }


async def _read_line(connection: socket.socket) -> bytes:
    """A question; OSError where it is too long, or ends before its line does."""
    loop = asyncio.get_running_loop()
    line = b""
    while not line.endswith(b"\n"):
        piece = await loop.sock_recv(connection, MAX_REQUEST_BYTES + 1 - len(line))
        line += piece
        if not piece or len(line) > MAX_REQUEST_BYTES:
            raise ConnectionAbortedError
    return line


def _decode(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise ArgumentError("a question is one JSON object in one line") from None


def point_fields(point: SyncPoint) -> Json:
    """A sync point, which has a kind where an event has a creator; metadata is in base64."""
    changes = {
        "joined": [str(key) for key in point.joined],
        "left": [str(key) for key in point.left],
        "rotated": [f"{old} by {new}" for old, new in point.rotated],
    }
    return {
        "index": point.index,
        "consensus_at": point.timestamp,
        "sync_point": point.kind.name,
        "epoch_index": point.epoch_index,
        "session_id": point.session_id.hex(),
        "proposer": None if point.proposer is None else str(point.proposer),
        "approvals": [str(key) for key in point.approvals],
        "metadata": base64.b64encode(point.metadata).decode("ascii"),
        "order_hash": point.order_hash.hex(),
        **{name: keys for name, keys in changes.items() if keys},
    }

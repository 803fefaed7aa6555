"""Who the members of a network are, as far as this machine knows: by a store, a running peer, or the network file."""

from __future__ import annotations

import errno
from pathlib import Path

from ..errors import ArgumentError, StorageError, SyncpointError
from ..genesis import Genesis
from ..keys import KeyPublic, KeySecret
from ..membership import Membership
from ..peers import Peer
from .change import capabilities_of
from .check_view import Finding, Known, Verdict
from .control import ask
from .guard import one_line
from .stores import opened

__all__ = ["known_members"]

IN_USE = (errno.EAGAIN, errno.EACCES)  # what a lock says that somebody else holds


def known_members(
    genesis: Genesis, secret: KeySecret, folder: Path | None, control: Path | None
) -> tuple[Known, Finding]:
    """The newest members that this machine knows of, and from where.

    `folder` is that of our store, if there is one, `control` the control socket of whoever uses it.
    """
    first = Known(peers=tuple(genesis.peers()), n=genesis.committee.n, q=genesis.committee.q)
    by_file = f"the {len(first.peers)} first ones, by the network file alone"

    def finding(verdict: Verdict, words: str) -> Finding:
        return Finding("members", verdict, words)

    if folder is None or control is None:
        return first, finding(Verdict.OK, f"{by_file}; if members have changed since, give --store")
    path = folder / f"{secret.public()}.syncpoint"
    if not path.exists():
        return first, finding(Verdict.NOTE, f"{by_file}: {path} is not there")
    try:
        stored, epoch = _stored(genesis, secret, path)
        return stored, finding(Verdict.OK, f"{len(stored.peers)}, those of epoch {epoch}, the newest in {path}")
    except (SyncpointError, OSError) as error:
        why = one_line(error)
        if not isinstance(error, StorageError) or error.errno not in IN_USE:
            return first, finding(Verdict.FAILED, f"{by_file}: {why}")
    try:
        told = _told(control)
    except ArgumentError as error:
        return first, finding(Verdict.NOTE, f"{by_file}: {why}, and {one_line(error)}")
    return told, finding(Verdict.OK, f"{len(told.peers)}, as the peer that runs with {folder} has them")


def _stored(genesis: Genesis, secret: KeySecret, path: Path) -> tuple[Known, int]:
    """The members in the newest epoch of a store, and its number."""
    with opened(path) as store:
        if store.identity.network_id != genesis.id:
            raise ArgumentError(f"{path} is of another network: give the folder that this peer runs with")
        membership = Membership(genesis.network, genesis.id, genesis.peers(), [secret], joins=True)
        for start in store.epochs.starts:
            membership.enter(start)
    members = membership.current
    return Known(peers=tuple(members.peers), n=members.committee.n, q=members.committee.q), members.epoch


def _told(control: Path) -> Known:
    """The members as a running peer has them."""
    answer = ask(control, {"do": "members"})
    peers = (
        Peer(each["address"], KeyPublic.parse(each["key"]), capabilities_of(each["capabilities"]))
        for each in answer["members"]
    )
    return Known(peers=tuple(peers), n=answer["n"], q=answer["q"])

"""Asks by itself for the removal of members that are silent, or that signed two events for one slot (S6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from .core.change import Remove, encode_change
from .core.status import Status
from .core.values import SyncPointKind
from .ending import Ending
from .errors import EngineStopped, ProposalRejected
from .keys import KeyPublic

if TYPE_CHECKING:
    from .agreement import Agreement
    from .membership import Membership
    from .proposal import Proposal

__all__ = ["EQUIVOCATOR", "FALLEN_BEHIND", "Removal", "is_kick"]

log = logging.getLogger("syncpoint.engine")

_KICK = b"syncpoint/kick/"
FALLEN_BEHIND = _KICK + b"fallen-behind"  # the metadata of such proposals: why
EQUIVOCATOR = _KICK + b"equivocator"

LOOKS = 5  # so many in the time for which a peer may be silent
PROPOSAL_NS = 30_000_000_000  # that a quorum has to approve


def is_kick(metadata: bytes) -> bool:
    """Whether an engine asked by itself for what comes with this metadata."""
    return metadata.startswith(_KICK)


class Removal:
    """Looks at the other members again and again, and proposes to remove some.

    A look counts only if a quorum made events since the last one: who is cut off itself finds nobody silent.
    """

    def __init__(
        self,
        limit_s: int,
        membership: Membership,
        agreement: Agreement,
        status: Callable[[], Status],
        ending: Ending,
    ) -> None:
        """`limit_s` is how long a peer may be silent; negative: nobody is ever proposed."""
        self._limit_s = limit_s
        self._membership = membership
        self._agreement = agreement
        self._status = status
        self._ending = ending
        self._epoch = -1
        self._frontier: tuple[int, ...] = ()  # at the last look that counted
        self._silent: dict[KeyPublic, int] = {}  # looks that found no new event, of those with any
        self._asking: dict[KeyPublic, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look again and again."""
        if self._limit_s > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limit_s / LOOKS, self._look_again)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._limit_s = None, -1

    def sees(self, proposal: Proposal) -> bool:
        """Whether this peer would ask for the same, or nearly: not all look at the same time."""
        key = proposal.leaves
        if self._limit_s < 0 or key is None or not is_kick(proposal.metadata) or self._is_unkickable(key):
            return False
        if proposal.metadata == EQUIVOCATOR:
            return key in self._equivocators(self._status())
        return proposal.metadata == FALLEN_BEHIND and self._silent.get(key, 0) >= LOOKS - 1

    # -- private --------------------------------------------------------------------------------------

    def _look_again(self) -> None:
        self.start()
        status = self._status()
        if not self._ending.is_running or status.creator is None or status.recovering or status.catching_up:
            self._epoch = -1  # what we saw before is of no use when we are back
            return
        self._look(status)
        equivocators = self._equivocators(status)
        for key, looks in list(self._silent.items()):
            if looks >= LOOKS:
                self._ask(key, EQUIVOCATOR if key in equivocators else FALLEN_BEHIND)

    def _look(self, status: Status) -> None:
        """Count who made no event since the last look."""
        if status.epoch != self._epoch:  # rounds begin anew, and so does patience
            self._epoch, self._frontier = status.epoch, status.frontier
            self._silent.clear()
        members = self._membership.of(status.epoch)
        risen = [now > then for now, then in zip(status.frontier, self._frontier, strict=True)]
        equivocators = self._equivocators(status)
        if sum(risen) >= members.committee.q:
            self._frontier = status.frontier
            for creator, is_up in enumerate(risen):
                key = members.keys[creator]
                if is_up and key not in equivocators:
                    self._silent.pop(key, None)
                elif not is_up:
                    self._silent[key] = self._silent.get(key, 0) + 1
        for key in equivocators:  # at once, and after a refusal as seldom as the silent
            self._silent[key] = self._silent.get(key, LOOKS - 1) + 1

    def _equivocators(self, status: Status) -> tuple[KeyPublic, ...]:
        keys = self._membership.of(status.epoch).keys
        return tuple(keys[creator] for creator in status.equivocators)

    def _is_unkickable(self, key: KeyPublic) -> bool:
        peers = self._membership.current.peers
        return any(peer.public == key and peer.capabilities.unkickable for peer in peers)

    def _ask(self, key: KeyPublic, why: bytes) -> None:
        """Propose the removal of a member, or approve what somebody else has proposed."""
        remove = Remove(bytes(key))
        if key == self._membership.public or self._is_unkickable(key) or key in self._asking:
            return
        if self._membership.coming.change(remove) is None:  # gone, or the others would be too few
            return
        proposals = self._agreement.proposals
        kicks = [each for each in proposals if each.leaves == key and is_kick(each.metadata)]
        for proposal in kicks:
            self._agreement.approve(proposal)
        if not kicks:
            log.warning("proposing to remove %s: %s", key, why.decode())
            task = asyncio.get_running_loop().create_task(self._propose(remove, why), name="syncpoint removal")
            self._asking[key] = task
            task.add_done_callback(lambda task: self._decided(key))

    async def _propose(self, remove: Remove, why: bytes) -> None:
        try:
            await self._agreement.propose(SyncPointKind.MEMBERSHIP, why, PROPOSAL_NS, encode_change(remove))
        except (ProposalRejected, EngineStopped) as error:
            log.info("it was not adopted: %s", error)

    def _decided(self, key: KeyPublic) -> None:
        """Adopted, or to be tried again after as long as before."""
        self._asking.pop(key, None)
        self._silent[key] = 0

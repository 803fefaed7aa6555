"""Machines whose members, keys and settings change: who knows whom under which number is part of the test world."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from syncpoint.core.change import Add, Change, Configure, Remove, Rotate, encode_change
from syncpoint.core.committee import Committee
from syncpoint.core.config import MachineConfig, Network
from syncpoint.core.crypto import Signer, derive, peer_record
from syncpoint.core.input import Connected, Disconnected, Input, NextKey, Propose, Received, Start, Vote
from syncpoint.core.items import Proposal, encode_proposal, proposal_id
from syncpoint.core.output import Entered, Opened, Rejected, Send, SendStored
from syncpoint.core.roster import Roster
from syncpoint.core.values import SyncPointKind

from .virtual import MS, Cluster, machine_of, members_of, seeds


class Changing(Cluster):
    """A cluster that members join and leave; peers go by the order in which they were made, as `i`."""

    def __init__(self, n: int, *, idle: int = 0, **settings: Any) -> None:
        """`idle` observers are members, and never run."""
        self.keys: list[list[bytes]] = [[seed] for seed in seeds(n)]  # the secrets of each peer, the newest last
        self.rosters: list[Roster] = []  # as each peer has it
        self.known: list[dict[bytes, int]] = []  # key -> number, of members and of those that left, as each peer has it
        self.entered: list[list[Entered]] = []
        self._approved: set[bytes] = set()
        self.returning: set[int] = set()  # first peers that start again as those that follow until they are let in
        self.expelled: set[int] = set()  # peers whose links ended after they left
        core = settings.pop("core", "python")
        self.first = members_of(n, idle)
        first = Roster.first(settings.get("network") or _DEFAULT, self.first)
        for _ in range(n):
            self._add_view(first)
        self._cores = [core] * n if isinstance(core, str) else list(core)
        super().__init__(n, core="python", factory=lambda i, config: machine_of(self._cores[i], config), **settings)

    # -- what a test does ---------------------------------------------------------------------------

    def change(self, i: int, change: Change, metadata: bytes = b"", within: int = 60_000 * MS) -> bytes:
        """Have a peer propose a change; the id of its proposal."""
        kind = (
            SyncPointKind.KEY_ROTATION if isinstance(change, Rotate)
            else SyncPointKind.CONFIG if isinstance(change, Configure)
            else SyncPointKind.MEMBERSHIP
        )  # fmt: skip
        self._count += 1
        body = encode_proposal(Proposal(kind, self.now + within, self._count, metadata, encode_change(change)))
        self.step(i, Propose(body))
        number = self._number(i, i)
        assert number is not None
        return proposal_id(self.epoch_id, number, body)

    def agree(self, id: bytes) -> None:
        """Have all peers approve a proposal as soon as they have it."""
        self._approved.add(id)
        for i in self.live:
            for opened in self.opened[i]:
                if opened.proposal == id and not opened.voted:
                    self.step(i, Vote(id, approves=True))

    def make(self, seed: bytes, core: str = "python") -> int:
        """A peer that is no member yet: it follows from the first epoch on."""
        i = self.size
        self.size += 1
        self.keys.append([seed])
        self._cores.append(core)
        self._add_view(Roster.first(self.network, self.first))
        self.add_peer()
        self.machines.append(self._machine(i))
        self.step(i, Start(()))
        self.meet()
        return i

    def addition(self, i: int, flags: int = 0) -> Add:
        """What lets a peer in."""
        return Add(peer_record(Signer(self.keys[i][-1])), flags, b"peer %d" % i)

    def removal(self, i: int) -> Remove:
        """What removes it."""
        return Remove(derive(self.keys[i][-1]))

    def rotate(self, i: int, seed: bytes) -> bytes:
        """Have a peer ask for a new key; the id of its proposal."""
        old = derive(self.keys[i][-1])
        self.step(i, NextKey(seed))
        self.keys[i].append(seed)
        return self.change(i, Rotate(old, peer_record(Signer(seed))))

    def has_newest_key(self, i: int) -> bool:
        """Whether the newest key of a peer is a member's, as it sees that itself."""
        return self.rosters[i].seat_of(derive(self.keys[i][-1])) is not None

    def expel(self, i: int) -> None:
        """End the links to a peer that left."""
        self.expelled.add(i)
        for j in range(self.size):
            if (min(i, j), max(i, j)) in self.links:
                self.cut(i, j)

    def meet(self) -> None:
        """Link whoever knows each other and is not linked."""
        for i in self.live:
            for j in self.live:
                if i < j and (i, j) not in self.links and not {i, j} & self.expelled and self._know(i, j):
                    self.link(i, j)

    def members(self, i: int) -> set[int]:
        """The peers that are members as one of them sees it."""
        publics = {seat.member.public for seat in self.rosters[i].seats}
        return {j for j in range(self.size) if publics & {derive(seed) for seed in self.keys[j]}}

    @property
    def epoch_id(self) -> bytes:
        return Committee.genesis(self.network, self.first).epoch_id

    def epoch_of(self, i: int) -> int:
        """The number of the epoch that a peer is in."""
        return self.machines[i].status().epoch

    # -- how it works -------------------------------------------------------------------------------

    def _machine(self, i: int) -> Any:
        keys = self.keys[i]
        config = MachineConfig(
            network=self.network,
            members=self.first,
            seed=keys[-2] if len(keys) > 1 else keys[0],
            next_seed=keys[-1] if len(keys) > 1 else None,
            entropy=bytes([i]) * 32,
            local=self.local_of(i),
            joins=i >= self.n or i in self.returning or len(keys) > 2,  # else one of the keys is among the first
        )
        return self.factory(i, config)

    def _add_view(self, roster: Roster) -> None:
        self.rosters.append(roster)
        self.known.append({seat.member.public: seat.number for seat in roster.seats})
        self.entered.append([])

    def _number(self, i: int, j: int) -> int | None:
        """The number under which a peer knows another one, or itself."""
        numbers = [self.known[i].get(derive(seed)) for seed in reversed(self.keys[j])]
        return next((number for number in numbers if number is not None), None)

    def _know(self, i: int, j: int) -> bool:
        return self._number(i, j) is not None and self._number(j, i) is not None

    def _peer(self, i: int, number: int) -> int | None:
        """The peer that another one knows under a number."""
        return next((j for j in range(self.size) if j != i and self._number(i, j) == number), None)

    def step(self, i: int, *inputs: Input) -> None:
        """Peers of inputs are those of the cluster; the machine gets its own numbers."""
        given: list[Input] = []
        for input in inputs:
            if isinstance(input, Received | Connected | Disconnected):
                number = self._number(i, input.peer)
                if number is None:
                    continue
                input = replace(input, peer=number)
            given.append(input)
        super().step(i, *given)

    def _carry_out(self, i: int, output: object) -> None:
        if isinstance(output, Send | SendStored | Rejected):
            peer = self._peer(i, output.peer)
            if peer is None:
                return
            output = replace(output, peer=peer)
        if isinstance(output, Entered):
            self._entered(i, output)
        if (
            isinstance(output, Opened)
            and output.proposal in self._approved
            and not output.voted
            and i in self.members(i)
        ):
            self._put(self.now, i, Vote(output.proposal, approves=True))
        super()._carry_out(i, output)

    def _entered(self, i: int, output: Entered) -> None:
        """From now on a peer knows the new members, and the old ones as long as nobody else has their number."""
        self.entered[i].append(output)
        self.rosters[i] = output.start.roster
        seats = output.start.roster.seats
        numbers = {seat.number for seat in seats}
        kept = {public: number for public, number in self.known[i].items() if number not in numbers}
        rotated = {public: number for public, number in self.known[i].items() if self._has_other_key(public, number, i)}
        self.known[i] = kept | rotated | {seat.member.public: seat.number for seat in seats}
        self._put(self.now, i, None)
        self._wake[i] = self.now
        self._meet_soon = True

    def _has_other_key(self, public: bytes, number: int, i: int) -> bool:
        """Whether a number is that of the same peer under another key."""
        owner = next((j for j in range(self.size) if public in {derive(seed) for seed in self.keys[j]}), None)
        seat = next((seat for seat in self.rosters[i].seats if seat.number == number), None)
        return owner is not None and seat is not None and seat.member.public in set(map(derive, self.keys[owner]))

    _meet_soon = False

    def _next(self) -> None:
        super()._next()
        if self._meet_soon:
            self._meet_soon = False
            self.meet()


_DEFAULT = Network()

"""Which events are committed: every slot (round, creator) is decided on its own, as early as it can be.

All counts are kept up as events come in; a new event touches the slots of the two rounds below it.
"""

from __future__ import annotations

from .committee import Committee
from .dag import Dag, Node, creators_of, nodes_of

__all__ = ["Decider", "Slot", "Status", "Tally"]

Status = Node | bool | None  # a node: committed; False: skipped; None: not decided


class Tally:
    """What is known for and against one variant of a slot."""

    __slots__ = ("against", "certificates", "certifying", "evidence", "node")

    def __init__(self, node: Node, against: int) -> None:
        self.node = node
        self.against = against  # bit set over creators: with an event of r+1 that does not vote for it
        self.certificates = 0  # bit set over row r+2: certificates for it (D2)
        self.certifying = 0  # bit set over creators: whose certificates
        self.evidence = 0  # bit set over row r+2: evidence for it (D3)


class Slot:
    """One (round, creator) and what is known of it."""

    __slots__ = ("blind", "creator", "status", "variants")

    def __init__(self, creator: int) -> None:
        self.creator = creator
        self.status: Status = None
        self.variants: list[Tally] = []  # in digest order
        self.blind = 0  # bit set over creators: whose events of r+2 are evidence for no variant (D8)


class Decider:
    """The status of every slot under one rule."""

    def __init__(self, committee: Committee, dag: Dag, rule: str) -> None:
        self.committee = committee
        self.dag = dag
        self.two_step = rule == "two_step"
        self.need = committee.qc if self.two_step else committee.q  # votes that make a certificate (D2)
        self.slots: dict[int, list[Slot]] = {}
        self.closed = 0  # all slots of all rounds up to here are decided
        self.fast_commits = 0  # slots committed by the votes for them alone (D7)
        self.certified_commits = 0  # by certificates (D5, D7)
        self.indirect_commits = 0  # by a later slot (D9)
        self.direct_skips = 0
        self.indirect_skips = 0
        self._top = 0  # the highest round with slots
        self._open: dict[int, int] = {}  # round -> number of its slots that are not decided

    def begin(self, round: int) -> None:
        """Begin above a round that is closed; nothing may have been counted yet."""
        self.closed = self._top = round

    def follow(self, before: Decider) -> None:
        """Go on with the counts of the epoch before; they are for people."""
        self.fast_commits, self.certified_commits = before.fast_commits, before.certified_commits
        self.indirect_commits = before.indirect_commits
        self.direct_skips, self.indirect_skips = before.direct_skips, before.indirect_skips

    def insert(self, node: Node) -> None:
        """Count a new event and decide what it makes decidable."""
        self.count(node)
        changed = max(self._decide_directly(node.round - 2), self._decide_directly(node.round - 1))
        if changed:
            self._decide_below(changed - 3)

    def count(self, node: Node) -> None:
        """Count a new event and decide nothing yet."""
        self._enter(node)
        self._count_votes(node)
        self._count_certificates(node)

    def decide(self) -> None:
        """Decide all that can be, from the top round down: for whoever counted a whole DAG before.

        With at most f liars this decides what event by event decides (D11); with more it is the model's answer.
        """
        for round in range(self._top, 0, -1):
            self._decide_directly(round)
        self._decide_below(self._top)

    def closing(self) -> list[tuple[int, list[Node]]]:
        """The rounds that closed since the last call, in order, each with its committed events."""
        out = []
        while self.closed < self.dag.top and self._open.get(self.closed + 1, 1) == 0:
            self.closed += 1
            del self._open[self.closed]
            statuses = [slot.status for slot in self.slots[self.closed]]
            out.append((self.closed, [status for status in statuses if isinstance(status, Node)]))
        return out

    def settled(self, round: int) -> bool:
        """Whether the votes of the next round settle the primary of `round` one way (P3)."""
        slots = self.slots.get(round)
        if slots is None:
            return round < 1 or round <= self.closed
        slot, qc = slots[self.committee.primary(round)], self.committee.qc
        if slot.status is not None:
            return True
        if any(tally.node.voting.bit_count() >= qc for tally in slot.variants):
            return True
        return self._unwanted(slot, qc) and self.dag.row(round + 1).creators.bit_count() >= qc

    def status(self, round: int, creator: int) -> Status:
        """What became of a slot."""
        slots = self.slots.get(round)
        return None if slots is None else slots[creator].status

    def snapshot(self) -> bytes:
        """What is here, and what is known of the slots above the closed rounds: equal bytes, equal state."""
        parts: list[bytes] = []
        for round in range(self.dag.floor + 1, self.dag.top + 1):
            for creator, variants in enumerate(self.dag.row(round).variants):
                parts += [variant.digest for variant in variants]
                status = self.status(round, creator)
                parts.append(status.digest if isinstance(status, Node) else b"?" if status is None else b"-")
        return b"".join(parts)

    def prune(self, floor: int) -> None:
        """Forget the slots of all rounds up to `floor`, which must be closed."""
        assert floor <= self.closed, "pruned before it was decided"
        for round in [round for round in self.slots if round <= floor]:
            del self.slots[round]

    # -- counting -----------------------------------------------------------------------------------

    def _enter(self, node: Node) -> None:
        """Make the node a variant of its slot."""
        while self._top < node.round:
            self._top += 1
            self.slots[self._top] = [Slot(creator) for creator in range(self.committee.n)]
            self._open[self._top] = self.committee.n
        slots = self.slots.get(node.round)
        if slots is None:  # closed long ago: it can change nothing (D11)
            return
        variants = slots[node.creator].variants
        # A variant that comes late finds events of the next round here already; none of them votes for it.
        variants.append(Tally(node, self.dag.row(node.round + 1).creators))
        if len(variants) > 1:
            variants.sort(key=lambda tally: tally.node.digest)

    def _count_votes(self, node: Node) -> None:
        """What a node says of the slots of the round below it (D1)."""
        creator = 1 << node.creator
        for slot in self.slots.get(node.round - 1, ()):
            if slot.status is not None:
                continue
            for tally in slot.variants:
                if not node.strong >> tally.node.index & 1:
                    tally.against |= creator

    def _count_certificates(self, node: Node) -> None:
        """What a node says of the slots two rounds below it (D2, D3)."""
        committee, creator, index = self.committee, 1 << node.creator, 1 << node.index
        for slot in self.slots.get(node.round - 2, ()):
            if slot.status is not None:
                continue
            votes = [(tally, (node.strong & tally.node.voters).bit_count()) for tally in slot.variants]
            seen = sum(1 for _, count in votes if count)
            strong = sum(1 for _, count in votes if count >= committee.t_exposed)
            blind = True
            for tally, count in votes:
                if count >= self.need:  # D2
                    tally.certificates |= index
                    tally.certifying |= creator
                if not count:
                    continue
                if self._is_evidence(count, seen, strong):
                    tally.evidence |= index
                    blind = False
            if blind:
                slot.blind |= creator

    def _is_evidence(self, count: int, seen: int, strong: int) -> bool:
        """Whether `count` votes are evidence (D3), with `seen` variants voted for, `strong` of them by many."""
        if seen == 1:
            return count >= self.committee.t_plain
        return count >= self.committee.t_exposed and strong == 1

    # -- deciding -----------------------------------------------------------------------------------

    def _decide_directly(self, round: int) -> int:
        """Decide what the counts allow; `round` when a slot of it was decided, else 0."""
        decided = 0
        for slot in self.slots.get(round, ()):
            if slot.status is None:
                slot.status = self._direct(round, slot)
                if slot.status is not None:
                    self._open[round] -= 1
                    decided = round
                    if slot.status is False:
                        self.direct_skips += 1
        return decided

    def _direct(self, round: int, slot: Slot) -> Status:
        """What the counts of a slot alone allow (D5 to D8); a commit is counted by its kind."""
        committee = self.committee
        for tally in slot.variants:
            if self.two_step and tally.node.voting.bit_count() >= committee.fast:  # D7
                self.fast_commits += 1
                return tally.node
            if tally.certifying.bit_count() >= committee.q:  # D5, D7
                self.certified_commits += 1
                return tally.node
        if self.two_step:  # D8
            skip = slot.blind.bit_count() >= committee.qc and self._unwanted(slot, committee.qc)
        else:  # D6
            here = self.dag.row(round + 1).creators.bit_count()
            skip = here >= committee.q and self._unwanted(slot, committee.q)
        return False if skip else None

    def _unwanted(self, slot: Slot, need: int) -> bool:
        """Whether, for each known variant, `need` creators of the next round do not vote for it."""
        return all(tally.against.bit_count() >= need for tally in slot.variants)

    def _decide_below(self, highest: int) -> None:
        """Decide open rounds from `highest` down by the first later slot that is not skipped (D9)."""
        for round in sorted((r for r, left in self._open.items() if left and r <= highest), reverse=True):
            anchor = self._anchor(round)
            if anchor is None:
                continue
            past = self.dag.history_at(anchor, round + 2)
            for slot in self.slots[round]:
                if slot.status is None:
                    slot.status = self._indirect(slot, round, past)
                    self._open[round] -= 1
                    if slot.status is False:
                        self.indirect_skips += 1
                    else:
                        self.indirect_commits += 1

    def _anchor(self, round: int) -> Node | None:
        """The committed event that decides what is left open in `round`, None while there is none (D9)."""
        for later in range(round + 3, self.dag.top + 1):
            slots = self.slots[later]
            for creator in self.committee.slot_order(later):
                status = slots[creator].status
                if status is None:
                    return None
                if isinstance(status, Node):
                    return status
        return None

    def _indirect(self, slot: Slot, round: int, past: int) -> Node | bool:
        """What the part of row r+2 that the anchor knows says of a slot (D10)."""
        for tally in slot.variants:
            if tally.certificates & past:
                return tally.node
        if self.two_step:
            row = self.dag.row(round + 2)
            for tally in slot.variants:
                witnesses = creators_of(nodes_of(row, tally.evidence & past))
                if witnesses.bit_count() >= self.committee.qc:
                    return tally.node
        return False

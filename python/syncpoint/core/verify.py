"""Whether an event is valid: a pure function of the event, its ancestors and the committee (V1 to V8)."""

from __future__ import annotations

from . import wire
from .committee import Committee
from .crypto import DOMAIN_EVENT
from .dag import Dag, Node
from .error import Reject
from .values import Event

__all__ = ["check_ancestors", "check_event", "check_evidence", "exposed", "with_others"]


def check_event(event: Event, committee: Committee, gc_depth: int) -> Reject | None:
    """What can be checked without the event's ancestors: creator, parents' shape, signature (V1, V2, V3)."""
    if event.creator >= committee.n:
        return Reject.CREATOR
    reject = _check_parents(event, committee, gc_depth)
    if reject is not None:
        return reject
    signed = DOMAIN_EVENT + event.digest
    if not committee.verify(event.creator, signed, event.signature):  # V1, last because it costs most
        return Reject.SIGNATURE
    return None


def check_ancestors(event: Event, parents: list[Node], dag: Dag, gc_depth: int) -> Reject | None:
    """What needs the event's parents, which are all in the DAG: V3 to V5 and V8."""
    own: Node | None = None
    for reference, parent in zip(event.parents, parents, strict=True):
        if reference.creator != parent.creator or reference.round != parent.round:
            return Reject.PARENT_MISMATCH
        if parent.creator == event.creator:
            own = parent
    if event.round > 1 and not _is_latest(own, event, parents, dag, gc_depth):
        return Reject.SELF_PARENT  # V4
    if own is not None and event.created_at <= own.created_at:
        return Reject.TIME  # V5
    strong = [parent for parent in parents if parent.round == event.round - 1]
    liars = exposed(strong, dag)
    if liars and any(liars >> parent.creator & 1 for parent in strong):
        return Reject.EXPOSED_AUTHOR  # V8
    return None


def exposed(strong: list[Node], dag: Dag) -> int:
    """Bit set over creators: of whom two of these events have different variants as strong parents (V8)."""
    if not strong:
        return 0
    below = dag.row(strong[0].round - 1)
    if not below.forked:
        return 0
    union = 0
    for node in strong:
        union |= node.strong
    bits = 0
    for creator, variants in enumerate(below.variants):
        if sum(union >> variant.index & 1 for variant in variants) > 1:
            bits |= 1 << creator
    return bits


def with_others(strong: list[Node], left_out: int, dag: Dag) -> list[Node]:
    """These events of a round, and one each of further creators that may stand beside them (V8).

    Of a creator that forked another variant may do where the one that came first does not.
    """
    chosen = list(strong)
    for creator, variants in enumerate(dag.row(strong[0].round).variants):
        if left_out >> creator & 1 or any(node.creator == creator for node in strong):
            continue
        for variant in sorted(variants, key=lambda node: node.index):
            liars = exposed([*chosen, variant], dag)
            if not any(liars >> node.creator & 1 for node in (*chosen, variant)):
                chosen.append(variant)
                break
    return chosen


def check_evidence(body: bytes, committee: Committee) -> int | None:
    """The creator that an EVIDENCE item proves to have signed two events for one slot, None if it proves nothing."""
    pairs = wire.decode_evidence(body)
    if isinstance(pairs, Reject):
        return None
    slots, digests = set(), []
    for header, _ in pairs:
        slot = wire.decode_header(header, committee.epoch_id)
        if isinstance(slot, Reject) or slot[0] >= committee.n:
            return None
        slots.add(slot)
        digests.append(wire.event_digest(header))
    if len(slots) != 1 or digests[0] >= digests[1]:  # E4: the lower one first
        return None
    creator = slots.pop()[0]
    for header, signature in pairs:
        if not committee.verify(creator, DOMAIN_EVENT + wire.event_digest(header), signature):
            return None
    return creator


def _check_parents(event: Event, committee: Committee, gc_depth: int) -> Reject | None:
    """The parents as far as their references tell (V2, V3)."""
    if event.round == 1:
        return Reject.NO_QUORUM if event.parents else None
    strong, last = 0, -1
    for parent in event.parents:
        if parent.creator <= last or parent.creator >= committee.n:
            return Reject.PARENT_ORDER
        last = parent.creator
        if not max(1, event.round - gc_depth) <= parent.round < event.round:
            return Reject.PARENT_ROUND
        strong += parent.round == event.round - 1
    return Reject.NO_QUORUM if strong < committee.q else None


def _is_latest(own: Node | None, event: Event, parents: list[Node], dag: Dag, gc_depth: int) -> bool:
    """Whether `own` is the latest event of its creator in the history of the event (V4).

    Only rounds that V3 lets be parents count: after a recovery (R3) the last own event may lie deeper.
    """
    if own is not None and own.round == event.round - 1:
        return True  # nothing later can be behind parents of at most that round
    lowest = max(1, event.round - gc_depth) if own is None else own.round + 1
    if not any(dag.row(round).creators >> event.creator & 1 for round in range(lowest, event.round)):
        return True  # it has no such event anywhere: no need to walk
    todo, seen = [parent for parent in parents if parent is not own], set(parents)
    while todo:
        node = todo.pop()
        if node.round < lowest:
            continue
        if node.creator == event.creator:
            return False
        for parent in node.parents:
            if parent not in seen:
                seen.add(parent)
                todo.append(parent)
    return True

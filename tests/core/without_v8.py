"""What goes wrong without exposed-author exclusion (V8): a search for two views that decide differently.

Run as `python -m core.without_v8 SEED SECONDS` from the folder `tests`, it looks for DAGs that obey every
rule but V8 and on which the two-step rule commits in one view what it does not commit in another, makes
them smaller, and prints the smallest as it is stored in data/dags/without_v8.json.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

from core.dags import Document
from model import generate
from model.model import Committee, Event, View

EPOCH_ID = bytes(32)


def lawless_dag(rng: random.Random, n: int, rounds: int) -> list[Event]:
    """A random DAG as from the generator, in which nobody obeys V8."""
    with mock.patch.object(generate, "pick_parents", _parents_without_v8):
        events, _ = generate.random_dag(rng, n, rounds)
    return events


def find(rng: random.Random) -> Document | None:
    """Two views of one random DAG that decide a slot differently, made as small as it gets."""
    committee = Committee.of(4)
    events = lawless_dag(rng, committee.n, rng.randint(5, 8))
    decided: dict[tuple[int, int], tuple[Any, list[Event]]] = {}
    for _ in range(10):
        view = generate.random_view(rng, events)
        for slot, status in View(committee, EPOCH_ID, view).decide("two_step").items():
            if status is None:
                continue
            other, other_view = decided.setdefault(slot, (status, view))
            if other != status:
                return _document(slot, *_smaller(committee, slot, (other_view, view)))
    return None


def obeys_all_but_v8(committee: Committee, events: list[Event]) -> bool:
    """Whether the events, with at most f liars among their creators, obey V2 to V5."""
    view = View(committee, EPOCH_ID, events)
    liars = {creator for (_, creator), variants in view.slots.items() if len(variants) > 1}
    return len(liars) <= committee.f and all(_is_valid(view, event) for event in events)


def _is_valid(view: View, event: Event) -> bool:
    own = [view.by_id[id] for id in view.history(event) if view.by_id[id].creator == event.creator]
    before = [other for other in own if other.id != event.id]
    parent = next((view.by_id[id] for id in event.parents if view.by_id[id].creator == event.creator), None)
    if event.round == 1:
        return not event.parents
    if before and (parent is None or parent.round < max(other.round for other in before)):
        return False  # V4
    if parent is not None and parent.created_at >= event.created_at:
        return False  # V5
    return len(view.strong(event)) >= view.k.q  # V2


Views = tuple[list[Event], list[Event]]


def _smaller(committee: Committee, slot: tuple[int, int], views: Views) -> Views:
    """The views without whatever their disagreement can do without."""
    progress = True
    while progress:
        progress = False
        for candidate in _candidates(views):
            if _disagree(committee, slot, candidate):
                views, progress = candidate, True
                break
    return views


def _disagree(committee: Committee, slot: tuple[int, int], views: Views) -> bool:
    statuses = [View(committee, EPOCH_ID, view).decide("two_step").get(slot) for view in views]
    if None in statuses or statuses[0] == statuses[1]:
        return False
    return obeys_all_but_v8(committee, list({event.id: event for view in views for event in view}.values()))


def _candidates(views: Views) -> Iterator[Views]:
    """The views with an event and its descendants left out, of one or both; then with one link less."""
    everything = {event.id: event for view in views for event in view}
    for event in sorted(everything.values(), key=lambda event: -event.round):
        for where in ((True, True), (True, False), (False, True)):
            shorter = [_without(view, event.id) if cut else view for view, cut in zip(views, where, strict=True)]
            if any(len(one) < len(two) for one, two in zip(shorter, views, strict=True)):
                yield shorter[0], shorter[1]
    for event in everything.values():
        for gone in event.parents:
            parents = tuple(parent for parent in event.parents if parent != gone)
            changed = Event(event.id, event.creator, event.round, event.created_at, parents)
            one, two = ([changed if other.id == event.id else other for other in view] for view in views)
            yield one, two


def _without(view: list[Event], gone: str) -> list[Event]:
    lost = {gone}
    for event in sorted(view, key=lambda event: event.round):
        if lost.intersection(event.parents):
            lost.add(event.id)
    return [event for event in view if event.id not in lost]


def _document(slot: tuple[int, int], one: list[Event], two: list[Event]) -> Document:
    everything = {event.id: event for event in (*one, *two)}
    events = sorted(everything.values(), key=lambda event: (event.round, event.creator, event.id))
    note = "obeys every rule but V8; under two_step the views decide the slot differently"
    made = generate.document(4, events, EPOCH_ID.hex(), 50, note)
    views = [[event.id for event in events if event in view] for view in (one, two)]
    return made | {"slot": f"{slot[0]}/{slot[1]}", "views": views}


def _parents_without_v8(rng, k, c, rnd, prev, latest, by_id, reach, split, bad):  # type: ignore[no-untyped-def]
    """As the generator picks parents, but whoever is exposed stays."""
    if rnd == 1:
        return ()
    chosen = {c: rng.choice(prev[c]) if c in bad else prev[c][0]} if prev.get(c) else {}
    others = [x for x in prev if x != c and prev[x]]
    rng.shuffle(others)
    take = [x for x in others if rng.random() < reach[x]]
    rest = [x for x in others if x not in take]
    need = k.q - len(chosen)
    take += rest[: max(0, need - len(take))]
    for x in take:
        variants = prev[x]
        chosen[x] = variants[0] if rng.random() < split[x] else rng.choice(variants)
    if len(chosen) < k.q:
        return None
    for x, event in latest.items():
        if x not in chosen and event.round < rnd - 1 and (x == c or rng.random() < 0.5):
            chosen[x] = event
    return tuple(chosen[x].id for x in sorted(chosen))


def main(seed: int, seconds: float) -> None:
    """Search, and print the smallest find."""
    rng, end, best, tried, found = random.Random(seed), time.monotonic() + seconds, None, 0, 0
    while time.monotonic() < end:
        made, tried = find(rng), tried + 1
        if made is None:
            continue
        found += 1
        size = (len(made["events"]), sum(len(event["parents"]) for event in made["events"]))
        if best is None or size < best[0]:
            best = (size, made)
            print(f"{tried} DAGs, {found} disagreements, {size[0]} events, {size[1]} links", file=sys.stderr)
    print(f"{tried} DAGs, {found} disagreements", file=sys.stderr)
    if best is not None:
        print(json.dumps(best[1], separators=(",", ":")))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))

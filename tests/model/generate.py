# ruff: noqa
# fmt: off
"""Random DAGs as adversaries and bad networks would leave them, and fixtures made of them.

    python generate.py fixtures DIR --seed S --count N     write random fixtures with their outcomes
    python generate.py patterns DIR                        write the hand-made patterns with their outcomes
    python generate.py fuzz --seed S --seconds T           search for two views that disagree
"""
from __future__ import annotations

import argparse
import json
import pathlib
import random
import time

from blake3 import blake3

from .model import ORDERS, RULES, Committee, Event, View, outcome


def digest(*parts) -> str:
    return blake3("/".join(map(str, parts)).encode()).hexdigest()


def random_dag(rng: random.Random, n: int, rounds: int, *, liars: int | None = None,
               idle: float = 0.0) -> tuple[list[Event], set[int]]:
    """A causally complete DAG obeying validity rules V1..V8; liars fork, lag and lie about time."""
    k = Committee.of(n)
    bad = set(rng.sample(range(n), k.f if liars is None else min(liars, k.f)))
    tag = rng.getrandbits(64)
    bias = rng.choice([(1.0,), (1.0, .9, .5), (1.0, .7, .5, .3, 0.0), (.5,), (1.0, .5, 0.0), (.9, .1)])
    skew = {c: rng.choice((0, 0, 0, rng.randint(-50, 50))) for c in range(n)}
    at: dict[int, dict[int, list[Event]]] = {0: {}}
    latest: dict[int, Event] = {}
    by_id: dict[str, Event] = {}
    asleep = {c: (rng.randint(2, rounds), rng.randint(2, 6)) for c in range(n)
              if c not in bad and rng.random() < idle}
    out: list[Event] = []
    for rnd in range(1, rounds + 1):
        at[rnd] = {}
        prev = at[rnd - 1]
        reach = {c: rng.choice(bias) for c in range(n)}
        split = {c: rng.random() for c in range(n)}
        for c in rng.sample(range(n), n):
            if c in asleep and asleep[c][0] <= rnd < asleep[c][0] + asleep[c][1] and len(
                    [a for a in asleep if asleep[a][0] <= rnd < asleep[a][0] + asleep[a][1]]) + len(bad) <= k.f:
                continue
            for twin in range(1 if c not in bad else rng.choice((0, 1, 1, 2, 2, 3))):
                parents = pick_parents(rng, k, c, rnd, prev, latest, by_id, reach, split, bad)
                if parents is None:
                    continue
                now = rnd * 100 + rng.randint(0, 60) + skew[c]
                if c in bad:
                    now = rng.choice((now, 1, rnd * 100 + 10**6, now - 300))
                own = [by_id[p] for p in parents if by_id[p].creator == c]
                now = max(now, own[0].created_at + 1 if own else 1)
                e = Event(digest(tag, rnd, c, twin), c, rnd, now, parents)
                out.append(e)
                by_id[e.id] = e
                at[rnd].setdefault(c, []).append(e)
        for c, es in at[rnd].items():
            latest[c] = es[0]
    return out, bad


def pick_parents(rng, k, c, rnd, prev, latest, by_id, reach, split, bad):
    if rnd == 1:
        return ()
    for attempt in range(6):
        chosen: dict[int, Event] = {}
        if prev.get(c):
            chosen[c] = prev[c][0] if c not in bad else rng.choice(prev[c])
        others = [x for x in prev if x != c and prev[x] and (attempt < 5 or x not in bad)]
        rng.shuffle(others)
        take = [x for x in others if rng.random() < reach[x]]
        rest = [x for x in others if x not in take]
        need = k.q - len(chosen)
        if len(take) < need:
            take += rest[:need - len(take)]
        if rng.random() < .3 and len(take) > need:
            take = take[:rng.randint(max(need, 0), len(take))]
        for x in take:
            vs = prev[x]
            chosen[x] = vs[0] if len(vs) == 1 or rng.random() < split[x] else rng.choice(vs)
        for _ in range(3):                                        # V8: no parent by an exposed creator
            first: dict[int, str] = {}
            exposed = set()
            for e in chosen.values():
                for p in e.parents:
                    if by_id[p].round == rnd - 2 and first.setdefault(by_id[p].creator, p) != p:
                        exposed.add(by_id[p].creator)
            for x in [x for x in chosen if x in exposed]:
                del chosen[x]
        if len(chosen) < k.q:
            continue
        for x, e in latest.items():                               # weak parents
            if x not in chosen and e.round < rnd - 1 and (x == c or rng.random() < .5):
                chosen[x] = e
        return tuple(chosen[x].id for x in sorted(chosen))
    return None


def layered(n: int, rounds: int, layers: dict[int, dict[int, list[int] | None]], tag: str) -> list[Event]:
    """A full DAG, except that in the given rounds only the listed creators act, with the listed creators as parents (None = all)."""
    prev: dict[int, Event] = {}
    out: list[Event] = []
    for rnd in range(1, rounds + 1):
        now: dict[int, Event] = {}
        for c in range(n):
            who = layers.get(rnd, {c: None}).get(c, [] if rnd in layers else None)
            if rnd in layers and c not in layers[rnd]:
                continue
            chosen = [x for x in sorted(prev) if who is None or x in who]
            now[c] = Event(digest(tag, rnd, c), c, rnd, rnd * 100 + c, tuple(prev[x].id for x in chosen))
        out += now.values()
        prev = now
    return out


def patterns():
    """(name, n, events): what happens to the slot (3, n-1)."""
    for n in (4, 7):
        q, last = Committee.of(n).q, n - 1
        voters = lambda k: {c: None if c < k else list(range(last)) for c in range(n)}
        for k in range(n + 1):
            yield f"{k}-of-{n}-vote", n, {4: voters(k)}
        yield f"n{n}-never-created", n, {3: {c: None for c in range(last)}}
        yield (f"n{n}-{q}-vote-each-certifier-misses-one", n,
               {4: voters(q), 5: {c: [x for x in range(n) if x != (c + 1) % q] for c in range(n)}})
        yield (f"n{n}-only-one-sees-all-votes", n,
               {4: voters((n - 1) // 3 + 1), 5: {c: None if c == 0 else [x for x in range(n) if x != 0] for c in range(n)}})
        for gone in range(1, (n - 1) // 3 + 1):
            yield f"n{n}-{gone}-crash-at-round-5", n, {r: {c: None for c in range(n - gone)} for r in range(5, 13)}


def write(directory: pathlib.Path, name: str, doc: dict) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    doc["outcome"] = outcome(doc)
    (directory / f"{name}.json").write_text(json.dumps(doc, separators=(",", ":")) + "\n")


def document(n, events, epoch_id, gc_depth, note) -> dict:
    return {"n": n, "epoch_id": epoch_id, "gc_depth": gc_depth, "note": note,
            "events": [{"id": e.id, "creator": e.creator, "round": e.round,
                        "created_at": e.created_at, "parents": list(e.parents)} for e in events]}


def random_view(rng, events: list[Event]) -> list[Event]:
    by_id = {e.id: e for e in events}
    top = max(e.round for e in events)
    lo = rng.randint(min(4, top), top)
    tips = [e for e in events if lo - 1 <= e.round <= lo]
    todo = rng.sample(tips, min(len(tips), rng.choice((1, 2, 3, 8))))
    keep: dict[str, Event] = {}
    while todo:
        e = todo.pop()
        if e.id not in keep:
            keep[e.id] = e
            todo += [by_id[p] for p in e.parents]
    return list(keep.values())


def check_views(rng, n, events, bad, views=8) -> list[str]:
    """What two honest peers may never disagree on."""
    wrong, epoch, k = [], bytes(32), Committee.of(n)
    sets = [events] + [random_view(rng, events) for _ in range(views)]
    vs = [View(k, epoch, s) for s in sets]
    for rule in RULES:
        merged: dict = {}
        for v in vs:
            for slot, s in v.decide(rule).items():
                if s is not None and merged.setdefault(slot, s) != s:
                    wrong.append(f"{rule}: slot {slot}")
        for order in ORDERS:
            flat = [[(e.id, t) for _, b in v.batches(rule, order, 50) for e, t in b] for v in vs]
            longest = max(flat, key=len)
            wrong += [f"{rule}/{order}: order" for s in flat if s != longest[:len(s)]]
            times = [t for _, t in longest]
            if any(a >= b for a, b in zip(times, times[1:])):
                wrong.append(f"{rule}/{order}: time")
            where = {i: p for p, (i, _) in enumerate(longest)}
            full = {e.id: e for e in events}
            wrong += [f"{rule}/{order}: child before parent" for i, p in where.items()
                      for a in full[i].parents if a in where and where[a] > p]
            slots = [(full[i].round, full[i].creator) for i in where]
            if len(set(slots)) != len(slots):
                wrong.append(f"{rule}/{order}: slot delivered twice")
    return wrong


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("what", choices=("fixtures", "patterns", "fuzz"))
    ap.add_argument("dir", nargs="?", type=pathlib.Path)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--count", type=int, default=40)
    ap.add_argument("--seconds", type=float, default=60)
    a = ap.parse_args()
    rng = random.Random(a.seed)
    sizes = (1, 2, 3, 4, 4, 4, 5, 6, 7, 7, 10)
    if a.what == "fuzz":
        dags = 0
        end = time.time() + a.seconds
        while time.time() < end:
            n = rng.choice(sizes)
            events, bad = random_dag(rng, n, rng.randint(6, 14), idle=rng.choice((0, 0, .3)))
            if not events:
                continue
            wrong = check_views(rng, n, events, bad)
            dags += 1
            if wrong:
                print("seed", a.seed, "dag", dags, "n", n, wrong[:5])
                raise SystemExit(1)
        print(f"{dags} DAGs, no two views disagree")
        return
    if a.what == "patterns":
        for name, n, layers in patterns():
            write(a.dir, name, document(n, layered(n, 12, layers, name), digest("epoch", name), 50, name))
        return
    for i in range(a.count):
        n = sizes[i % len(sizes)]
        events, bad = random_dag(rng, n, rng.randint(6, 16), idle=rng.choice((0, 0, .4)))
        events.sort(key=lambda e: e.round)
        write(a.dir, f"dag-{a.seed}-{i:03d}-n{n}", document(
            n, events, digest("epoch", a.seed, i), rng.choice((50, 50, 5)), f"liars {sorted(bad)}"))


if __name__ == "__main__":
    main()

# ruff: noqa
# fmt: off
"""Executable specification of how slots are decided and events are ordered.

Slow and literal on purpose: each rule stands here as design/protocol.md states it
(numbers in brackets), over plain sets and dictionaries, recomputed from scratch.
It knows nothing of signatures, bytes or networks. Both cores must give the same
answer on every DAG; neither may contain or import this file.

    python model.py FIXTURE.json           print the outcome of a fixture
    python model.py --check DIR            compare each fixture's stored outcome
"""
from __future__ import annotations

import json
import pathlib
import sys
from dataclasses import dataclass

from blake3 import blake3


@dataclass(frozen=True)
class Event:
    id: str                      # digest, 64 hex digits
    creator: int
    round: int                   # >= 1
    created_at: int              # ns, the creator's claim
    parents: tuple[str, ...]     # ids, at most one per creator


@dataclass(frozen=True)
class Committee:
    """[Q1] n members, f tolerated, and every threshold that follows from them."""
    n: int
    f: int

    @classmethod
    def of(cls, n: int, f: int | None = None) -> "Committee":
        return cls(n, (n - 1) // 3 if f is None else f)

    @property
    def q(self): return self.n - self.f                                   # quorum
    @property
    def p(self): return 0 if self.f == 0 else (self.n - 3 * self.f + 1) // 2
    @property
    def fast(self): return self.n - self.p                                # fast quorum
    @property
    def qc(self): return (self.n + self.f + 2) // 2                       # two share f+1 members
    @property
    def t_plain(self): return max(1, min(self.n - 2 * self.f - self.p, self.qc))
    @property
    def t_exposed(self): return self.f + self.p


class View:
    """A causally complete set of valid events, as one peer holds it."""

    def __init__(self, committee: Committee, epoch_id: bytes, events: list[Event]):
        self.k, self.epoch_id = committee, epoch_id
        self.by_id = {e.id: e for e in events}
        self.slots: dict[tuple[int, int], list[Event]] = {}
        for e in sorted(events, key=lambda e: e.id):
            assert all(p in self.by_id for p in e.parents), "not causally complete"
            self.slots.setdefault((e.round, e.creator), []).append(e)
        self.top = max((e.round for e in events), default=0)
        self._history: dict[str, frozenset[str]] = {}

    def at(self, rnd: int) -> list[Event]:
        return [e for c in range(self.k.n) for e in self.slots.get((rnd, c), [])]

    def variants(self, rnd: int, creator: int) -> list[Event]:
        return self.slots.get((rnd, creator), [])

    def strong(self, e: Event) -> list[Event]:
        return [self.by_id[p] for p in e.parents if self.by_id[p].round == e.round - 1]

    def history(self, e: Event) -> frozenset[str]:
        if e.id not in self._history:
            out = {e.id}
            for p in e.parents:
                out |= self.history(self.by_id[p])
            self._history[e.id] = frozenset(out)
        return self._history[e.id]

    # -- votes --------------------------------------------------------------------

    def vote(self, v: Event, rnd: int, creator: int) -> Event | None:
        """[D1] the variant of the slot that v, of the next round, has as a strong parent."""
        for p in self.strong(v):
            if v.round == rnd + 1 and p.creator == creator:
                return p
        return None

    def tally(self, x: Event, rnd: int, creator: int) -> dict[str, int]:
        """Votes for each variant of the slot among the strong parents of x, of round rnd+2."""
        out: dict[str, int] = {}
        for v in self.strong(x):
            b = self.vote(v, rnd, creator)
            if b is not None:
                out[b.id] = out.get(b.id, 0) + 1
        return out

    def certifies(self, x: Event, b: Event, need: int) -> bool:
        """[D2] x of round r+2 holds `need` votes for b of round r."""
        return self.tally(x, b.round, b.creator).get(b.id, 0) >= need

    def evidence(self, x: Event, b: Event) -> bool:
        """[D3] what x of round r+2 has seen fits with b having been committed by the fast path."""
        t = self.tally(x, b.round, b.creator)
        mine = t.pop(b.id, 0)
        if not t:
            return mine >= self.k.t_plain
        return mine >= self.k.t_exposed and all(c < self.k.t_exposed for c in t.values())

    # -- deciding -----------------------------------------------------------------

    def slot_order(self, rnd: int) -> list[int]:
        """[D4] the primary of a round comes first, the others follow in a circle."""
        seed = blake3(b"syncpoint/slots/v1" + self.epoch_id + rnd.to_bytes(8, "little")).digest()
        first = int.from_bytes(seed[:8], "little") % self.k.n
        return [(first + i) % self.k.n for i in range(self.k.n)]

    def direct(self, rule: str, rnd: int, creator: int):
        """An event = commit it, False = skip the slot, None = not decided directly."""
        k, next1, next2 = self.k, self.at(rnd + 1), self.at(rnd + 2)
        known = self.variants(rnd, creator)

        def creators(events): return len({e.creator for e in events})
        def against(b): return creators(v for v in next1 if self.vote(v, rnd, creator) != b)

        if rule == "three_step":
            for b in known:                                                   # [D5]
                if creators(x for x in next2 if self.certifies(x, b, k.q)) >= k.q:
                    return b
            if creators(next1) >= k.q and all(against(b) >= k.q for b in known):   # [D6]
                return False
            return None
        for b in known:                                                       # [D7]
            if creators(v for v in next1 if self.vote(v, rnd, creator) == b) >= k.fast:
                return b
            if creators(x for x in next2 if self.certifies(x, b, k.qc)) >= k.q:
                return b
        blind = creators(x for x in next2 if not any(self.evidence(x, b) for b in known))
        if blind >= k.qc and all(against(b) >= k.qc for b in known):          # [D8]
            return False
        return None

    def indirect(self, rule: str, rnd: int, creator: int, status):
        """[D9, D10] decided by the first later slot that is not skipped, if that one is committed."""
        anchor = None
        for later in range(rnd + 3, self.top + 1):
            for c in self.slot_order(later):
                s = status[later, c]
                if s is None:
                    return None
                if s is not False:
                    anchor = s
                    break
            if anchor is not None:
                break
        if anchor is None:
            return None
        past = [x for x in self.at(rnd + 2) if x.id in self.history(anchor)]
        known = self.variants(rnd, creator)
        need = self.k.q if rule == "three_step" else self.k.qc
        for b in known:
            if any(self.certifies(x, b, need) for x in past):
                return b
        if rule == "two_step":
            for b in known:
                if len({x.creator for x in past if self.evidence(x, b)}) >= self.k.qc:
                    return b
        return False

    def decide(self, rule: str) -> dict:
        """Status of every slot, found from the top round down."""
        status: dict = {}
        for rnd in range(self.top, 0, -1):
            for creator in reversed(self.slot_order(rnd)):
                s = self.direct(rule, rnd, creator)
                status[rnd, creator] = self.indirect(rule, rnd, creator, status) if s is None else s
        return status

    # -- ordering -----------------------------------------------------------------

    def batches(self, rule: str, order: str, gc_depth: int):
        """[O1..O8] for each closed round that delivers something: (round, [(event, consensus_at)])."""
        status, out = self.decide(rule), []
        held: set[str] = set()                    # in the history of a committed event
        done: set[str] = set()                    # delivered, or suppressed for good
        taken: set[tuple[int, int]] = set()       # (round, creator) already delivered
        seen: dict[str, dict[int, int]] = {}      # event -> creator -> when it first had it
        last = 0
        for rnd in range(1, self.top + 1):
            if any(status[rnd, c] is None for c in range(self.k.n)):
                break                                                         # [O1]
            committed = [status[rnd, c] for c in range(self.k.n) if status[rnd, c] is not False]
            floor = rnd - gc_depth
            new = {i for b in committed for i in self.history(b)} - held
            new = {i for i in new if self.by_id[i].round > floor}             # [O2]
            held |= new
            for x in sorted((self.by_id[i] for i in new), key=lambda e: (e.round, e.creator, e.id)):
                for a in self.history(x):                                     # [O3]
                    if a in held and a not in done:
                        seen.setdefault(a, {}).setdefault(x.creator, x.created_at)
            if order == "fair":                                               # [O4]
                ready = [self.by_id[i] for i in held - done
                         if self.by_id[i].round > floor and len(seen[i]) >= self.k.q]
                stamp = {e.id: lower_median(seen[e.id].values()) for e in ready}
            else:                                                             # [O5]
                ready = [self.by_id[i] for i in held - done]
                beat = lower_median(
                    lower_median([p.created_at for p in self.strong(b)] or [b.created_at])
                    for b in committed) if committed else 0
                stamp = {e.id: beat for e in ready}
            for e in sorted(ready, key=lambda e: e.round):                    # [O6]
                stamp[e.id] = max([stamp[e.id], *(stamp[p] for p in e.parents if p in stamp)])
            salt = 0
            for b in committed:
                salt ^= int(b.id, 16)
            batch = []
            for e in sorted(ready, key=lambda e: (stamp[e.id], e.round, int(e.id, 16) ^ salt)):
                done.add(e.id)
                if (e.round, e.creator) in taken:                             # [O7]
                    continue
                taken.add((e.round, e.creator))
                last = max(last + 1, stamp[e.id])                             # [O8]
                batch.append((e, last))
            if batch:
                out.append((rnd, batch))
        return out


def lower_median(values) -> int:
    v = sorted(values)
    return v[(len(v) - 1) // 2]


RULES, ORDERS = ("two_step", "three_step"), ("fair", "fast")


def view_of(doc: dict) -> View:
    events = [Event(e["id"], e["creator"], e["round"], e["created_at"], tuple(e["parents"]))
              for e in doc["events"]]
    return View(Committee.of(doc["n"], doc.get("f")), bytes.fromhex(doc["epoch_id"]), events)


def outcome(doc: dict) -> dict:
    """Everything a core must agree on, for each rule and order."""
    view, out = view_of(doc), {}
    for rule in RULES:
        status = view.decide(rule)
        out[rule] = {
            "slots": {f"{r}/{c}": ("undecided" if s is None else "skip" if s is False else s.id)
                      for (r, c), s in sorted(status.items())},
            **{order: [{"round": r, "events": [[e.id, t] for e, t in batch]}
                       for r, batch in view.batches(rule, order, doc["gc_depth"])]
               for order in ORDERS}}
    return out


def main(argv: list[str]) -> int:
    if len(argv) == 2 and argv[0] == "--check":
        files = sorted(pathlib.Path(argv[1]).glob("*.json"))
        bad = [f.name for f in files
               if (doc := json.loads(f.read_text()))["outcome"] != outcome(doc)]
        print(f"{len(files) - len(bad)} of {len(files)} fixtures agree", *bad)
        return 1 if bad or not files else 0
    if len(argv) == 1 and not argv[0].startswith("-"):
        json.dump(outcome(json.loads(pathlib.Path(argv[0]).read_text())), sys.stdout, indent=1)
        return 0
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

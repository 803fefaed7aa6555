"""Thresholds, slot order and the identity of a network (Q1 to Q4, D4, E1)."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re

import pytest

from core.build import Peers
from model import model
from syncpoint.backend import make_machine
from syncpoint.core.committee import Committee
from syncpoint.core.config import MAX_PEERS, NO_ORDER, MachineConfig, Member, Network
from syncpoint.core.crypto import blake3, derive
from syncpoint.errors import ArgumentError

# n: f, q, p, fast, qc, t_plain, t_exposed with the most liars that n allows.
THRESHOLDS = {
    1: (0, 1, 0, 1, 1, 1, 0),
    2: (0, 2, 0, 2, 2, 2, 0),
    3: (0, 3, 0, 3, 2, 2, 0),
    4: (1, 3, 1, 3, 3, 1, 2),
    5: (1, 4, 1, 4, 4, 2, 2),
    6: (1, 5, 2, 4, 4, 2, 3),
    7: (2, 5, 1, 6, 5, 2, 3),
    8: (2, 6, 1, 7, 6, 3, 3),
    9: (2, 7, 2, 7, 6, 3, 4),
    10: (3, 7, 1, 9, 7, 3, 4),
    11: (3, 8, 1, 10, 8, 4, 4),
    12: (3, 9, 2, 10, 8, 4, 5),
    13: (4, 9, 1, 12, 9, 4, 5),
    14: (4, 10, 1, 13, 10, 5, 5),
    15: (4, 11, 2, 13, 10, 5, 6),
    16: (5, 11, 1, 15, 11, 5, 6),
    17: (5, 12, 1, 16, 12, 6, 6),
    18: (5, 13, 2, 16, 12, 6, 7),
    19: (6, 13, 1, 18, 13, 6, 7),
    20: (6, 14, 1, 19, 14, 7, 7),
    21: (6, 15, 2, 19, 14, 7, 8),
    22: (7, 15, 1, 21, 15, 7, 8),
    23: (7, 16, 1, 22, 16, 8, 8),
    24: (7, 17, 2, 22, 16, 8, 9),
    25: (8, 17, 1, 24, 17, 8, 9),
    26: (8, 18, 1, 25, 18, 9, 9),
    27: (8, 19, 2, 25, 18, 9, 10),
    28: (9, 19, 1, 27, 19, 9, 10),
    29: (9, 20, 1, 28, 20, 10, 10),
    30: (9, 21, 2, 28, 20, 10, 11),
    31: (10, 21, 1, 30, 21, 10, 11),
    32: (10, 22, 1, 31, 22, 11, 11),
    33: (10, 23, 2, 31, 22, 11, 12),
    34: (11, 23, 1, 33, 23, 11, 12),
    35: (11, 24, 1, 34, 24, 12, 12),
    36: (11, 25, 2, 34, 24, 12, 13),
    37: (12, 25, 1, 36, 25, 12, 13),
    38: (12, 26, 1, 37, 26, 13, 13),
    39: (12, 27, 2, 37, 26, 13, 14),
    40: (13, 27, 1, 39, 27, 13, 14),
}
COMMITTEES = [(n, f) for n in range(1, 41) for f in range((n - 1) // 3 + 1)]
NETWORK = Network()
OTHER_VALUES = {
    "name": "another",
    "rule": "three_step",
    "order": "fast",
    "f": 1,
    "gc_depth": 51,
    "max_payload_bytes": 1024 * 1024 - 1,
    "max_ahead": 201,
    "epoch_ms": 1_000,
}


def of(n: int, f: int | None = None, epoch_id: bytes = bytes(32)) -> Committee:
    return Committee(n, f, epoch_id)


@pytest.mark.parametrize("n", THRESHOLDS)
def test_thresholds_with_the_most_liars(n: int) -> None:
    # Q1
    k = of(n)
    assert (k.f, k.q, k.p, k.fast, k.qc, k.t_plain, k.t_exposed) == THRESHOLDS[n]


def test_the_table_has_every_size() -> None:
    assert list(THRESHOLDS) == list(range(1, 41))


@pytest.mark.parametrize(("n", "f"), COMMITTEES)
def test_thresholds_equal_the_models(n: int, f: int) -> None:
    mine, theirs = of(n, f), model.Committee.of(n, f)
    for name in ("n", "f", "q", "p", "fast", "qc", "t_plain", "t_exposed"):
        assert getattr(mine, name) == getattr(theirs, name), name


@pytest.mark.parametrize(("n", "f"), COMMITTEES)
def test_what_the_thresholds_are_for(n: int, f: int) -> None:
    k = of(n, f)
    # Any two of these sets of creators share one who does not lie, and the living suffice for each.
    assert 2 * k.q - n >= f + 1
    assert 2 * k.qc - n >= f + 1
    assert k.q + k.qc - n >= f + 1
    assert k.fast + k.qc - n >= f + 1
    assert 1 <= k.qc <= min(k.q, k.fast) <= n
    # A fast commit leaves evidence in each event of r+2: all but f of the fast voters are honest, and
    # all but f creators are among its strong parents (D3).
    assert k.fast - f + k.q - n >= k.t_plain >= 1
    if f:
        # If the liar is exposed, its own vote is out (V8) and one liar fewer is left to vote twice.
        assert (k.fast - 1) - (f - 1) + k.q - (n - 1) >= k.t_exposed
        assert k.p + (f - 1) < k.t_exposed  # and no other variant can seem committed


def test_crashes_that_the_fast_path_survives() -> None:
    # Q1: lowering f keeps the fast path alive under more crashes.
    assert [of(10, f).p for f in (3, 2, 1)] == [1, 2, 4]


@pytest.mark.parametrize("n", [-1, 0, MAX_PEERS + 1])
def test_a_size_out_of_range_is_misuse(n: int) -> None:
    with pytest.raises(ValueError, match="peers"):
        of(n)


@pytest.mark.parametrize(("n", "f"), [(1, 1), (3, 1), (4, 2), (7, 3), (4, -1)])
def test_more_liars_than_can_be_tolerated_are_misuse(n: int, f: int) -> None:
    with pytest.raises(ValueError, match="liars"):
        of(n, f)


# -- slot order (D4) --------------------------------------------------------------------------------


def test_slot_order_equals_the_models(seed: int) -> None:
    rng = random.Random(seed)
    for n in (1, 2, 3, 4, 7, 10, 40, MAX_PEERS):
        epoch_id = rng.randbytes(32)
        committee, view = of(n, None, epoch_id), model.View(model.Committee.of(n), epoch_id, [])
        for round in [*range(1, 60), 2**32, 2**62]:
            order = committee.slot_order(round)
            assert order == view.slot_order(round)
            assert committee.primary(round) == order[0]
            assert sorted(order) == list(range(n))


def test_primaries_survive_the_cache_being_emptied() -> None:
    committee = of(7, None, bytes(range(32)))
    first = [committee.primary(round) for round in range(1, 3000)]
    assert first == [committee.primary(round) for round in range(1, 3000)]
    assert {first.count(creator) > 300 for creator in range(7)} == {True}  # every creator's turn comes


# -- genesis (E1) -----------------------------------------------------------------------------------


def test_genesis_does_not_depend_on_the_order_of_members() -> None:
    members = [Member(bytes([number]) * 32, number << 1) for number in (3, 1, 2, 4)]
    made = [Committee.genesis(NETWORK, order) for order in itertools.permutations(members)]
    assert len({committee.epoch_id for committee in made}) == 1
    assert {committee.members for committee in made} == {tuple(sorted(members, key=lambda m: m.public))}
    assert (made[0].n, made[0].f) == (4, 1)


def test_every_setting_of_a_network_changes_the_epoch() -> None:
    members = [Member(bytes([number]) * 32) for number in range(4)]
    assert set(OTHER_VALUES) == {field.name for field in dataclasses.fields(Network)}
    networks = [NETWORK] + [dataclasses.replace(NETWORK, **{name: value}) for name, value in OTHER_VALUES.items()]
    networks.append(dataclasses.replace(NETWORK, f=0))
    assert len({Committee.genesis(network, members).epoch_id for network in networks}) == len(networks)


def test_every_part_of_the_members_changes_the_epoch() -> None:
    keys = [bytes([number]) * 32 for number in range(5)]
    memberships = [
        [Member(key) for key in keys[:4]],
        [Member(key) for key in keys[1:]],
        [Member(key) for key in keys],
        [Member(key) for key in keys[:3]],
        [Member(keys[0], 1), *(Member(key) for key in keys[1:4])],
        [Member(keys[0]), Member(keys[1], 1), *(Member(key) for key in keys[2:4])],
    ]
    epochs = {Committee.genesis(NETWORK, members).epoch_id for members in memberships}
    assert len(epochs) == len(memberships)


def test_genesis_takes_f_from_the_network() -> None:
    assert Peers(7, f=1).committee.f == 1
    assert Peers(7).committee.f == 2


def test_a_key_given_twice_is_misuse() -> None:
    # Q1: every peer has one vote, whatever flags it is given with.
    with pytest.raises(ValueError, match="twice"):
        Committee.genesis(NETWORK, [Member(bytes(32)), Member(bytes(32), 1)])


def test_numbers_are_those_of_peers_only() -> None:
    peers = Peers(4)
    assert [peers.committee.number(signer.public) for signer in peers.signers] == [0, 1, 2, 3]
    assert peers.committee.number(bytes(32)) is None


# -- observers (Q4) ---------------------------------------------------------------------------------


def test_observers_have_the_numbers_after_the_creators_and_count_nowhere() -> None:
    members = [Member(bytes([number]) * 32, NO_ORDER if number in (0, 3) else 0) for number in range(7)]
    for order in (members, members[::-1]):
        committee = Committee.genesis(NETWORK, order)
        assert committee.members == tuple(member for member in members if member.flags == 0)
        assert committee.observers == (members[0], members[3])
        assert (committee.n, committee.f, committee.q) == (5, 1, 4), "thresholds of five, not of seven"
        assert [committee.number(member.public) for member in members] == [5, 0, 1, 6, 2, 3, 4]
        assert {committee.primary(round) for round in range(200)} == set(range(5))


def test_only_the_lowest_flag_makes_an_observer() -> None:
    assert [flags for flags in range(16) if not Member(bytes(32), flags).orders] == list(range(1, 16, 2))


def test_the_epoch_id_covers_observers_in_the_order_of_all_keys() -> None:
    members = [Member(bytes([number]) * 32, flags) for number, flags in ((1, 1), (2, 0), (3, 5), (4, 8))]
    covered = NETWORK.encode() + (4).to_bytes(2, "little")
    covered += b"".join(member.public + bytes([member.flags]) for member in members)
    assert Committee.genesis(NETWORK, members[::-1]).epoch_id == blake3(b"syncpoint/genesis/v1" + covered)


@pytest.mark.parametrize(
    ("f", "observers", "members", "text"),
    [
        (None, 3, 0, "none of 3 peers takes part in ordering: leave out no_order for at least one"),
        (None, 0, 0, "a committee of 0 peers: 1 to 128 are allowed"),
        (None, 125, 4, "a committee of 129 peers: 1 to 128 are allowed"),
        (2, 3, 4, "f = 2 liars among 4 peers that order: 0 to 1 can be tolerated"),
    ],
)
def test_what_no_network_can_be_is_said_alike_by_both_cores(
    core: str, f: int | None, observers: int, members: int, text: str
) -> None:
    peers = tuple(Member(derive(bytes([number]) * 32), number < observers) for number in range(observers + members))
    with pytest.raises(ArgumentError, match=f"^{re.escape(text)}$"):
        Committee.genesis(Network(f=f), peers)
    config = MachineConfig(network=Network(f=f), members=peers, seed=bytes(32), entropy=bytes(32))
    with pytest.raises(ArgumentError, match=f"^{re.escape(text)}$"):
        make_machine(config, core)


def test_as_many_observers_as_there_is_room_for(core: str) -> None:
    peers = tuple(Member(derive(bytes([number]) * 32), number < 124) for number in range(128))
    config = MachineConfig(network=NETWORK, members=peers, seed=bytes(32), entropy=bytes(32))
    status = make_machine(config, core).status()
    assert (status.creator, status.peers, status.frontier) == (None, 4, (0, 0, 0, 0))

"""Options: defaults, checks, and making them from a mapping."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import pickle
from typing import Any

import pytest

from syncpoint import options
from syncpoint.errors import ArgumentError, ArgumentTypeError
from syncpoint.options import Options

DEFAULTS: dict[str, Any] = {
    "base_min_event_interval_us": 1_000,
    "heartbeat_us": 500_000,
    "report_gossip_events": False,
    "fallen_behind_kick_s": -1,
    "target_ack_latency_ms": 400,
    "max_ack_latency_ms": 600,
    "throttle_ack_latency_ms": 900,
    "reset_ack_latency_ms": 2000,
    "enable_dynamic_epoch_size": True,
    "transaction_channel_size": 4096,
    "max_unacknowledged_bytes": 64 * 1024 * 1024,
    "max_blocking_verify_threads": None,
    "enable_state_sharing": False,
    "epoch_states_to_cache": 3,
    "enable_hole_punching": False,
}
HAVE_EFFECT = {
    "base_min_event_interval_us",
    "heartbeat_us",
    "fallen_behind_kick_s",
    "transaction_channel_size",
    "max_unacknowledged_bytes",
    "max_blocking_verify_threads",
}
# The lowest and the highest value of each whole number, with what must go along with it.
LATENCIES = ["target_ack_latency_ms", "max_ack_latency_ms", "throttle_ack_latency_ms", "reset_ack_latency_ms"]
RANGES = {
    "base_min_event_interval_us": (0, 10_000_000),
    "heartbeat_us": (1_000, 60_000_000),
    "target_ack_latency_ms": (1, 3_600_000),
    "max_ack_latency_ms": (1, 3_600_000),
    "throttle_ack_latency_ms": (1, 3_600_000),
    "reset_ack_latency_ms": (1, 3_600_000),
    "transaction_channel_size": (1, 1_048_576),
    "max_unacknowledged_bytes": (1, 1 << 40),
    "max_blocking_verify_threads": (1, 1024),
    "epoch_states_to_cache": (0, 1000),
}
FLAGS = [name for name, value in DEFAULTS.items() if isinstance(value, bool)]


def fitting(name: str, value: int) -> dict[str, Any]:
    """`value` for one field and others that agree with it."""
    if name in LATENCIES:
        place = LATENCIES.index(name)
        below = {each: min(value, DEFAULTS[each]) for each in LATENCIES[:place]}
        above = {each: max(value, DEFAULTS[each]) for each in LATENCIES[place + 1 :]}
        return {**below, name: value, **above}
    if name == "base_min_event_interval_us":
        return {name: value, "heartbeat_us": 60_000_000}
    return {name: value}


def test_fields_and_defaults_are_exactly_these() -> None:
    assert dataclasses.asdict(Options()) == DEFAULTS
    assert list(dataclasses.asdict(Options())) == list(DEFAULTS)


def test_options_are_values_that_never_change() -> None:
    changed = Options(heartbeat_us=2_000)
    assert changed != Options()
    assert len({Options(), Options(), changed}) == 2
    assert pickle.loads(pickle.dumps(changed)) == changed
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.heartbeat_us = 3_000  # type: ignore[misc]
    with pytest.raises(TypeError):
        Options(1_000)  # type: ignore[misc]


@pytest.mark.parametrize(("name", "limits"), list(RANGES.items()))
def test_both_ends_of_a_range_are_allowed_and_what_lies_outside_is_not(name: str, limits: tuple[int, int]) -> None:
    low, high = limits
    for value in limits:
        assert getattr(Options(**fitting(name, value)), name) == value
    for value in (low - 1, high + 1, -(2**70), 2**70):
        with pytest.raises(ArgumentError) as caught:
            Options(**{name: value})
        message = str(caught.value)
        assert f"Options.{name} was given {value};" in message
        assert f"allowed are whole numbers of {low} to {high} (" in message
        assert "give a value in this range, or leave the field out" in message
        assert caught.value.code == -1


def test_fallen_behind_kick_is_negative_for_never() -> None:
    for value in (1, 31_536_000, -1, -(2**70)):
        assert Options(fallen_behind_kick_s=value).fallen_behind_kick_s == value
    for value in (0, 31_536_001):
        with pytest.raises(
            ArgumentError, match=f"given {value}; allowed .* 1 to 31536000 .seconds., or a negative.*: give"
        ):
            Options(fallen_behind_kick_s=value)


@pytest.mark.parametrize("name", [*RANGES, "fallen_behind_kick_s"])
@pytest.mark.parametrize("wrong", [True, 1.0, "1", b"1", [1]])
def test_whole_numbers_must_be_ints(name: str, wrong: Any) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        Options(**{name: wrong})
    message = str(caught.value)
    assert f"Options.{name} was given {wrong!r} ({type(wrong).__name__}); allowed are whole numbers" in message
    assert "give an int, or leave the field out" in message
    assert caught.value.code == -2


@pytest.mark.parametrize("name", [*RANGES, "fallen_behind_kick_s"])
def test_none_is_allowed_for_one_field_only(name: str) -> None:
    if name == "max_blocking_verify_threads":
        assert Options(**{name: None}).max_blocking_verify_threads is None
        return
    with pytest.raises(ArgumentTypeError, match=f"{name} was given None"):
        Options(**{name: None})


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("wrong", [0, 1, "true", None])
def test_flags_must_be_bools(name: str, wrong: Any) -> None:
    assert getattr(Options(**{name: not DEFAULTS[name]}), name) is not DEFAULTS[name]
    with pytest.raises(ArgumentTypeError) as caught:
        Options(**{name: wrong})
    message = str(caught.value)
    assert f"Options.{name} was given {wrong!r} ({type(wrong).__name__}); allowed are True and False" in message
    assert "give one of them, or leave the field out" in message


@pytest.mark.parametrize(("lower", "upper"), list(itertools.pairwise(LATENCIES)))
def test_latencies_must_rise(lower: str, upper: str) -> None:
    same = dict.fromkeys(LATENCIES, 700)
    assert Options(**same).target_ack_latency_ms == 700
    place = LATENCIES.index(lower)
    rising = {name: 500 + i * 100 for i, name in enumerate(LATENCIES)}
    wrong = {**rising, lower: 500 + (place + 1) * 100 + 1}
    with pytest.raises(ArgumentError) as caught:
        Options(**wrong)
    message = str(caught.value)
    assert f"Options.{lower} is {wrong[lower]} and {upper} {wrong[upper]};" in message
    assert f"allowed is {' <= '.join(LATENCIES)}: lower the first or raise the second" in message


def test_the_interval_is_at_most_the_heartbeat() -> None:
    assert Options(base_min_event_interval_us=5_000, heartbeat_us=5_000).heartbeat_us == 5_000
    with pytest.raises(
        ArgumentError, match=r"interval_us is 5001 and heartbeat_us 5000; allowed is .*: lower the first"
    ):
        Options(base_min_event_interval_us=5_001, heartbeat_us=5_000)


def test_from_mapping() -> None:
    assert Options.from_mapping({}) == Options()
    assert Options.from_mapping(DEFAULTS) == Options()
    given = {"heartbeat_us": 2_000, "enable_state_sharing": True}
    assert Options.from_mapping(given) == Options(heartbeat_us=2_000, enable_state_sharing=True)


def test_from_mapping_refuses_unknown_fields_and_suggests_the_closest() -> None:
    with pytest.raises(ArgumentError) as caught:
        Options.from_mapping({"hearbeat_us": 5_000})
    message = str(caught.value)
    assert "Options has no field 'hearbeat_us'; allowed are base_min_event_interval_us, heartbeat_us," in message
    assert message.endswith("did you mean 'heartbeat_us'?")
    with pytest.raises(ArgumentError, match=r"has no field 'zzz'; .*: remove it$"):
        Options.from_mapping({"zzz": 1})
    with pytest.raises(ArgumentError, match="has no field 7; "):
        Options.from_mapping({7: 1})  # type: ignore[dict-item]


def test_from_mapping_checks_values_and_types() -> None:
    with pytest.raises(ArgumentTypeError, match="heartbeat_us was given '5'"):
        Options.from_mapping({"heartbeat_us": "5"})
    with pytest.raises(ArgumentTypeError, match=r"given list; only a mapping .*: give a dict"):
        Options.from_mapping([("heartbeat_us", 5_000)])  # type: ignore[arg-type]


def field_docs() -> dict[str, str]:
    tree = ast.parse(inspect.getsource(options))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    docs: dict[str, str] = {}
    for node, after in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert isinstance(after, ast.Expr), node.target.id
            assert isinstance(after.value, ast.Constant)
            docs[node.target.id] = " ".join(str(after.value.value).split())
    return docs


def test_every_fields_docstring_gives_default_range_and_effect() -> None:
    docs = field_docs()
    assert list(docs) == list(DEFAULTS)
    for name, text in docs.items():
        default = DEFAULTS[name]
        shown = f"{default:_}" if isinstance(default, int) and not isinstance(default, bool) else str(default)
        assert f"Default {shown}" in text, name
        assert ("Accepted for compatibility; no effect yet" in text) is (name not in HAVE_EFFECT), name
        if name in RANGES and name not in LATENCIES[1:]:
            low, high = RANGES[name]
            assert f"{low:_} to {high:_}" in text, name
    assert "SDK: 500 MiB" in docs["max_unacknowledged_bytes"]

"""The core's single functions, asked of both cores at once: whoever calls them gets an answer that both gave."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from syncpoint.backend import load_core
from syncpoint.core import crypto, verify, wire
from syncpoint.core.committee import Committee
from syncpoint.core.config import MAX_PAYLOAD_BYTES, Network
from syncpoint.core.error import Reject
from syncpoint.core.values import Event

from .pair import EVENT, Difference

# All that a test may call by these modules; the native core has them by the same names.
SHARED: list[tuple[ModuleType, str]] = [
    (crypto, "blake3"),
    (crypto, "derive"),
    (crypto, "verify"),
    (crypto, "admit"),
    (crypto, "check_peer_record"),
    (crypto, "merkle_root"),
    (crypto, "merkle_path"),
    (crypto, "merkle_check"),
    (wire, "decode_event"),
    (wire, "decode_header"),
    (wire, "decode_request"),
    (wire, "decode_frontier"),
    (wire, "decode_evidence"),
]


def compare_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put functions in the place of the Python core's that ask the native core, too."""
    native = load_core("native")
    for module, name in SHARED:
        monkeypatch.setattr(module, name, of_both(getattr(module, name), getattr(native, name)))
    monkeypatch.setattr(verify, "check_event", of_both(verify.check_event, _check_event))


def of_both(first: Callable[..., Any], second: Callable[..., Any]) -> Callable[..., Any]:
    """A function that answers, or raises, what both do; Difference where they do not agree."""

    @functools.wraps(first)
    def asked(*args: Any, **named: Any) -> Any:
        one, two = _outcome(first, args, named), _outcome(second, args, named)
        if _plain(one) != _plain(two):
            raise Difference(f"{first.__name__}{args}: {one!r} and {two!r}")
        if isinstance(one, Exception):
            raise one
        return one

    return asked


def _outcome(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    try:
        return function(*args, **named)
    except (ValueError, TypeError, AssertionError) as error:
        return error


def _plain(value: Any) -> Any:
    if isinstance(value, Reject):
        return "reject", value
    if isinstance(value, Exception):
        return type(value), str(value)
    if all(hasattr(value, name) for name in EVENT):
        return tuple(_plain(getattr(value, name)) for name in EVENT)
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value


def _check_event(event: Event, committee: Committee, gc_depth: int) -> Reject | None:
    """The native check, by the arguments of the Python one."""
    native = load_core("native")
    network = Network(f=committee.f, gc_depth=gc_depth, max_payload_bytes=MAX_PAYLOAD_BYTES)
    read = native.decode_event(wire.encode_event(event), committee.epoch_id, network)
    assert not isinstance(read, Reject), "only what can be decoded gets this far"
    return native.check_event(read, network, committee.members)

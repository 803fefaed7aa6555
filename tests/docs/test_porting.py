"""docs/porting.md names every option and every error code of the SDK."""

from __future__ import annotations

import dataclasses

import pytest

import syncpoint
from syncpoint import Options, SyncpointError

from .markdown import rows, text_of

DOCUMENT = "docs/porting.md"


@pytest.mark.parametrize("field", dataclasses.fields(Options), ids=lambda field: field.name)
def test_every_option_is_named_once_and_by_its_effect(field: dataclasses.Field[object]) -> None:
    defaults = {cells[0].strip("`"): cells[1] for cells in rows(DOCUMENT, "field")}
    others = text_of(DOCUMENT).partition("The others are accepted")[2].partition("## Errors")[0]
    if field.name in defaults:
        assert defaults[field.name] == (f"{field.default:,}" if isinstance(field.default, int) else str(field.default))
    assert (field.name in defaults) != (f"`{field.name}`" in others)


def test_codes_are_those_of_the_exceptions() -> None:
    told = {int(cells[0]): cells[1].split("`")[1] for cells in rows(DOCUMENT, "SDK code")}
    kinds = [kind for kind in vars(syncpoint).values() if isinstance(kind, type) and issubclass(kind, SyncpointError)]
    assert told == {kind.code: kind.__name__ for kind in kinds if "code" in vars(kind) and kind.code is not None}

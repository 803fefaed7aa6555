"""Every rule of the protocol is cited where it is obeyed and where it is tested (L5)."""

from __future__ import annotations

import re

import pytest

from .sources import CORE, PACKAGE, TESTS, files, name_of

NUMBERS = {"Q": 4, "E": 5, "V": 8, "D": 11, "O": 11, "P": 7, "F": 4, "T": 2, "J": 2, "S": 5, "C": 4}
RULES = [f"{group}{number}" for group, last in NUMBERS.items() for number in range(1, last + 1)]
NOT_YET: dict[str, str] = {}  # with the reason
# Rules that are obeyed elsewhere than in core/ and runtime/.
ELSEWHERE = {
    "Q2": "engine.py",  # saying so at start is for people
}
CITATION = re.compile(r"\b([A-Z])(\d{1,2})\b(?:(?: to |-)\1?(\d{1,2})\b)?")


def citations(text: str) -> set[str]:
    """The rules that a text names, ranges such as "D5 to D8" included."""
    found = set()
    for group, first, last in CITATION.findall(text):
        found |= {f"{group}{number}" for number in range(int(first), int(last or first) + 1)}
    return found


OBEYED = {path: citations(path.read_text(encoding="utf-8")) for path in files(PACKAGE)}
TESTED = {
    path: citations(path.read_text(encoding="utf-8"))
    for path in files(TESTS)
    if "tidy" not in path.parts and "model" not in path.parts
}


def test_citations_are_found() -> None:
    assert citations("# D7") == {"D7"}
    assert citations("(D5 to D8), O4, O5; as in P3 (c), not MD5 or D123 or d7") == {
        "D5",
        "D6",
        "D7",
        "D8",
        "O4",
        "O5",
        "P3",
    }
    assert citations("V1-V3") == {"V1", "V2", "V3"}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_cited_where_it_is_obeyed(rule: str) -> None:
    places = [
        path
        for path, rules in OBEYED.items()
        if rule in rules and (CORE in path.parents or "runtime" in path.parts or path.name == ELSEWHERE.get(rule))
    ]
    assert bool(places) != (rule in NOT_YET), f"{rule} is cited in {list(map(name_of, places))}"


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in NOT_YET])
def test_a_rule_is_cited_where_it_is_tested(rule: str) -> None:
    assert any(rule in rules for rules in TESTED.values()), f"no test names {rule}"


def test_no_rule_is_cited_that_does_not_exist() -> None:
    known = set(RULES) | {
        f"{group}{number}" for group, last in {"S": 7, "C": 4, "R": 5, "L": 7}.items() for number in range(1, last + 1)
    }
    known |= {"H1", "H2"}
    for path, rules in OBEYED.items():
        if "cli" in path.parts:
            continue
        odd = {rule for rule in rules - known if rule[0] in NUMBERS or rule[0] in "SCR"}
        assert not odd, f"{name_of(path)} cites {odd}"

"""What is bounded in pure functions: sizes of texts, copies of patches, causes, JSONPath, and what is kept of clients' texts."""

import gc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kapi import limits
from kapi.objects import caching, causes, errors, fields, jsonpath, labels, patch, sizes
from kapi.objects.errors import Cause, Causes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab,[{"\\ü', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('k,{"\\', max_size=3), inner, max_size=4),
    max_leaves=60,
)


def counted(value: Any) -> int:
    """Every value, and objects and lists that hold something twice less one: as a text shows them."""
    if isinstance(value, dict | list):
        held = value.values() if isinstance(value, dict) else value
        return 1 + max(0, len(value) - 1) + sum(counted(item) for item in held)
    return 0


@given(VALUES)
def test_values_of_a_text(value: Any) -> None:
    raw = orjson.dumps(value)
    assert sizes._outside(raw, 10**9) == 1 + counted(value)
    assert sizes.values(raw) >= 1 + counted(value)
    exact = 1 + counted(value)
    assert sizes.exceeds(raw, exact - 1) is (len(raw) > exact - 1)
    assert not sizes.exceeds(raw, exact)


def test_marks_within_strings_are_no_values() -> None:
    raw = orjson.dumps({"text": ",[{" * 100_000, "more": ['\\",{'] * 10})
    assert not sizes.exceeds(raw, 100)


def test_values_in_messages_are_cut() -> None:
    assert causes.shown({"a": "b"}) == '{"a":"b"}'
    long = causes.shown(["ü" * limits.QUOTED_VALUE])
    assert long.startswith('["üü')
    assert long.endswith("ü…")
    assert len(long.encode()) <= limits.QUOTED_VALUE + len("…".encode())


# patches ----------------------------------------------------------------------------------------------------------------------------


def test_copies_of_three_megabytes_at_most() -> None:
    most = {"a": "x" * (limits.PATCH_COPY_BYTES - 2)}
    assert patch.json_patch(dict(most), [{"op": "copy", "from": "/a", "path": "/b"}])["b"] == most["a"]
    with pytest.raises(errors.Invalid) as found:
        patch.json_patch(dict(most), [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "copy", "from": "/a", "path": "/c"}])
    assert found.value.message == "the server rejected our request due to an error in our request"
    assert str(found.value.__cause__) == (
        "Unable to complete the copy, the accumulated size increase of copy is "
        f"{2 * limits.PATCH_COPY_BYTES}, exceeding the limit {limits.PATCH_COPY_BYTES}"
    )


def test_a_copy_is_deep() -> None:
    out = patch.json_patch({"a": {"b": [1]}}, [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "add", "path": "/c/b/-", "value": 2}])
    assert out == {"a": {"b": [1]}, "c": {"b": [1, 2]}}


def test_pointers_longer_than_any_document() -> None:
    with pytest.raises(errors.Invalid):
        patch.json_patch({}, [{"op": "add", "path": "/a" * (limits.POINTER_STEPS + 1), "value": 1}])


# causes -----------------------------------------------------------------------------------------------------------------------------


def test_causes_are_bounded_in_number_and_length() -> None:
    found = Causes()
    found += [Cause("r", "m", f"f{i}") for i in range(limits.CAUSES + 5)]
    assert len(found) == limits.CAUSES
    assert found.full
    long = Causes()
    for i in range(5):
        long.append(causes.wrong(f"f{i}", "x" * (limits.CAUSES_LENGTH + 1)))
    assert len(long) == 1


# JSONPath ---------------------------------------------------------------------------------------------------------------------------


def test_a_path_that_leads_everywhere_finds_nothing() -> None:
    deep: Any = {"z": 1}
    for _ in range(60):
        deep = {"a": deep}
    assert jsonpath.find("..z", deep) == [1]
    assert jsonpath.find("..a" * 9 + ".z", deep) == []


# selectors --------------------------------------------------------------------------------------------------------------------------

KEYS, WORDS = st.sampled_from("abc"), st.sampled_from(["", "1", "2", "x", "10"])
REQUIREMENTS = st.one_of(
    st.builds(lambda k, o, v: labels.Requirement(k, o, (v,)), KEYS, st.sampled_from(["=", "==", "!="]), WORDS),
    st.builds(lambda k, o, v: labels.Requirement(k, o, tuple(v)), KEYS, st.sampled_from(["in", "notin"]), st.lists(WORDS, min_size=1)),
    st.builds(lambda k, o: labels.Requirement(k, o), KEYS, st.sampled_from(["exists", "!"])),
    st.builds(lambda k, o, v: labels.Requirement(k, o, (v,)), KEYS, st.sampled_from(["gt", "lt"]), st.sampled_from(["1", "5"])),
)


def holds(requirement: labels.Requirement, have: dict[str, str]) -> bool:
    """One requirement as the documentation of labels has it."""
    value, operator = have.get(requirement.key), requirement.operator
    if operator in ("!=", "notin"):
        return value not in requirement.values
    if operator in ("exists", "!"):
        return (value is None) is (operator == "!")
    if value is None:
        return False
    if operator in ("gt", "lt"):
        limit = int(requirement.values[0])
        return value.isdigit() and (int(value) > limit if operator == "gt" else int(value) < limit)
    return value in requirement.values


@given(st.lists(REQUIREMENTS, max_size=8), st.dictionaries(st.sampled_from("abcdefgh"), WORDS))
def test_all_requirements_together(requirements: list[labels.Requirement], have: dict[str, str]) -> None:
    assert labels.Selector(requirements).matches(have) is all(holds(one, have) for one in requirements)


TERMS = st.builds(fields.Term, st.sampled_from("ab"), st.sampled_from(["", "x", "y"]), st.booleans())


@given(st.lists(TERMS, max_size=6), st.dictionaries(st.sampled_from("ab"), st.sampled_from(["", "x", "y"])))
def test_all_terms_together(terms: list[fields.Term], have: dict[str, str]) -> None:
    expected = all((have.get(term.field, "") == term.value) is not term.negated for term in terms)
    assert fields.Selector(tuple(terms)).matches(have) is expected


# what is kept -----------------------------------------------------------------------------------------------------------------------


def test_long_texts_are_not_kept() -> None:
    read: list[int] = []

    @caching.kept(4)
    def length(text: str) -> int:
        read.append(len(text))
        return len(text)

    long = "x" * (limits.KEPT_TEXT + 1)
    assert [length("short"), length("short"), length(long), length(long)] == [5, 5, len(long), len(long)]
    assert read == [5, len(long), len(long)]


@pytest.mark.parametrize("parse", [labels.parse, fields.parse])
def test_long_selectors_are_not_kept(parse: Any) -> None:
    text = ",".join(f"metadata.name!={i}" for i in range(1000))
    selector = parse(text)
    gc.collect()
    assert parse(text) is not selector
    assert str(parse(text)) == str(selector)

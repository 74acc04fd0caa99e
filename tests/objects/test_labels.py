"""Label selectors: both forms, stock's words for errors, and the law that a printed selector reads back the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kapi.objects import labels

ERRORS = {
    "app===x": "unable to parse requirement: found '=', expected: identifier",
    "Bad Key=x": "unable to parse requirement: found 'Key', expected: in, notin, =, ==, !=, gt, lt",
    "a=b=c": "found '=', expected: ',' or 'end of string'",
    "(": "found '(', expected: !, identifier, or 'end of string'",
    "a in b": "unable to parse requirement: found 'b' expected: '('",
    "a,": "found '', expected: identifier after ','",
    "a>x": """unable to parse requirement: values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the value must be an integer""",
}


@pytest.mark.parametrize(("text", "message"), ERRORS.items())
def test_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        labels.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "matching", "others"),
    [
        ("app=x", [{"app": "x"}, {"app": "x", "b": "c"}], [{}, {"app": "y"}]),
        ("app!=x", [{}, {"app": "y"}], [{"app": "x"}]),
        ("app in (x,y),!tier", [{"app": "y"}], [{"app": "x", "tier": "1"}, {}]),
        ("app notin (x)", [{}, {"app": "z"}], [{"app": "x"}]),
        ("app", [{"app": ""}], [{}]),
        ("n>4,n<9", [{"n": "5"}], [{"n": "4"}, {"n": "x"}, {}]),
        ("in in (in,notin)", [{"in": "notin"}], [{"in": "x"}]),
        ("a in (,b)", [{"a": ""}, {"a": "b"}], [{}]),
        ("", [{}, {"a": "b"}], []),
    ],
)
def test_matches(text: str, matching: list[dict[str, str]], others: list[dict[str, str]]) -> None:
    selector = labels.parse(text)
    assert all(selector.matches(m) for m in matching)
    assert not any(selector.matches(m) for m in others)


def test_object_form() -> None:
    selector = labels.from_object({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]})
    assert selector.matches({"a": "b"})
    assert not selector.matches({"a": "b", "c": ""})
    assert selector.equals == {"a": "b"}
    assert not labels.from_object(None).matches({})
    assert labels.from_object({}).matches({"x": "y"})
    with pytest.raises(ValueError, match='"Near" is not a valid label selector operator'):
        labels.from_object({"matchExpressions": [{"key": "a", "operator": "Near"}]})


words = st.sampled_from(["a", "app", "tier", "in", "x-1"])
requirements = st.one_of(
    st.builds(labels.Requirement, words, st.sampled_from(["=", "==", "!="]), words.map(lambda w: (w,))),
    st.builds(labels.Requirement, words, st.sampled_from(["in", "notin"]), st.sets(words, min_size=1).map(lambda s: tuple(sorted(s)))),
    st.builds(labels.Requirement, words, st.sampled_from(["exists", "!"]), st.just(())),
)


@given(st.lists(requirements, max_size=4))
@settings(max_examples=40)
def test_what_is_printed_reads_back(terms: list[labels.Requirement]) -> None:
    selector = labels.Selector(terms)
    assert labels.parse(str(selector)) == selector


@given(st.lists(requirements, max_size=4), st.dictionaries(words, words, max_size=4))
@settings(max_examples=40)
def test_a_selector_is_the_conjunction_of_its_terms(terms: list[labels.Requirement], have: dict[str, str]) -> None:
    assert labels.Selector(terms).matches(have) == all(labels.Selector([term]).matches(have) for term in terms)

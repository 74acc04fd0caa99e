"""JSON nested more deeply than orjson goes: kept as text below, the same when it is read again."""

import json
import os
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kapi.objects import nested
from kapi.objects.errors import NotAcceptable


def lists(levels: int, inside: str = "1") -> bytes:
    return b'{"a":' + b"[" * levels + inside.encode() + b"]" * levels + b"}"


def cut(raw: bytes) -> Any:
    shallow, parts = nested.cut(raw)
    return nested.restored(orjson.loads(shallow), parts)


@pytest.mark.parametrize(("levels", "deep"), [(1, False), (nested.SHALLOW - 1, False), (nested.SHALLOW, True), (201, True), (9000, True)])
def test_what_is_deep(levels: int, deep: bool) -> None:
    assert nested.deep(lists(levels)) is deep


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b",".join([b"[[]]"] * 1000) + b"]",
        b'["' + b"[" * 1000 + b'"]',
        b'["' + b'\\"[' * 1000 + b'"]',
        b"[" + b'{"a":[{}]},' * 500 + b"1]",
    ],
)
def test_what_only_looks_deep(raw: bytes) -> None:
    assert not nested.deep(raw)


@pytest.mark.parametrize("raw", [b"]" * 500, b"[{" * 500, b"[}" * 500, b"\t" * 500, b'"' * 501])
def test_what_is_no_json(raw: bytes) -> None:
    nested.deep(raw)
    with pytest.raises(orjson.JSONDecodeError):
        nested.loads(raw + b"\t")


@pytest.mark.parametrize("levels", [201, 300, 1100, 9999])
def test_written_and_read_again(levels: int) -> None:
    raw = lists(levels, '{"k": 1.0, "k":\n [ "\\u00e4\\ud800", -5e0, true ], "z" : {} }')
    kept = orjson.dumps(cut(raw))
    text = kept.replace(b"\t", b"").decode()
    assert text == lists(levels, '{"k":["ä\ufffd",-5,true],"z":{}}').decode()
    assert orjson.dumps(nested.loads(kept)) == kept
    assert orjson.dumps(cut(kept)) == kept


def test_leaves_are_where_orjson_has_room_behind_them() -> None:
    """It writes closing brackets behind a Fragment without looking whether they fit: 64 at most, in all of its versions 32."""
    value, levels = cut(lists(300)), 0
    while not isinstance(value, orjson.Fragment):
        (value,), levels = value.values() if isinstance(value, dict) else value, levels + 1
    assert levels == nested.KEPT <= 24


WRITES = """
import random, orjson
from kapi.objects import nested
for _ in range(20_000):
    raw = b'{"p":"%s","a":%s1%s}' % (b"y" * random.randrange(4000), b"[" * 300, b"]" * 300)
    shallow, parts = nested.cut(raw)
    orjson.dumps({"request": {"object": {"spec": nested.restored(orjson.loads(shallow), parts)}}})
"""


@pytest.mark.slow
def test_writing_stays_within_its_buffer() -> None:
    """glibc looks at the ends of all blocks of memory."""
    checked = os.environ | {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
    done = subprocess.run([sys.executable, "-c", WRITES], env=checked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_long_string_costs_little() -> None:
    raw = lists(300, '"%s"' % ("x" * 2_900_000))
    tracemalloc.start()
    try:
        began = time.thread_time()
        kept = orjson.dumps(cut(raw))
        nested.loads(kept)
        assert time.thread_time() - began < 0.25  # 0.8 s when each character was a step of the match
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()


def test_a_leaf_equals_itself() -> None:
    raw = orjson.dumps(cut(lists(300)))
    assert nested.loads(raw) == nested.loads(raw)
    assert nested.loads(raw) != nested.loads(orjson.dumps(cut(lists(301))))


def test_numbers_no_double_holds() -> None:
    with pytest.raises(ValueError, match=r"^json: cannot unmarshal number 1e400 into Go value of type float64$"):
        nested.cut(lists(300, "1e400"))


def test_other_forms() -> None:
    assert nested.plain(b'{"a":[1]}') == {"a": [1]}
    with pytest.raises(NotAcceptable):
        nested.plain(orjson.dumps(cut(lists(300))))
    assert nested.received(b'{\t"a":\t[1]}') == {"a": [1]}
    assert orjson.dumps(nested.received(orjson.dumps(cut(lists(2000))))) == orjson.dumps(cut(lists(2000)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(VALUES, st.booleans())
def test_any_value(value: Any, spaced: bool) -> None:
    inner = json.dumps(value, indent=1 if spaced else None)
    raw = b"[" * 250 + inner.encode() + b"]" * 250
    kept = orjson.dumps(cut(raw)).replace(b"\t", b"")
    assert kept == b"[" * 250 + orjson.dumps(value) + b"]" * 250

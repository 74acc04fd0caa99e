"""Strategic merge of lists, compared with the plain and slow words of its description."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kapi.objects import errors
from kapi.schema import builtin, strategic

META = builtin.schema("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
NAMES = st.lists(st.sampled_from("abcdef"), max_size=6)
UNIQUE = st.lists(st.sampled_from("abcdef"), max_size=6, unique=True)


def interleaved(items: list[Any], wanted: list[Any], live: list[Any]) -> list[Any]:
    """Those wanted in that order, the others in live order, each before the first wanted one it stood before."""
    ours = sorted((item for item in items if item in wanted), key=wanted.index)
    others = sorted((item for item in items if item not in wanted), key=lambda item: live.index(item) if item in live else len(live))
    out = []
    while ours and others:
        a, b = others[0], ours[0]
        first = a in live and b in live and live.index(a) < live.index(b)
        out.append((others if first else ours).pop(0))
    return out + ours + others


@given(UNIQUE, NAMES)
def test_texts(live: list[str], patch: list[str]) -> None:
    out = strategic.apply(META, {"finalizers": list(live)}, {"finalizers": patch})
    assert out["finalizers"] == interleaved(list(dict.fromkeys(live + patch)), patch, live)


@given(UNIQUE, NAMES)
def test_texts_deleted(live: list[str], gone: list[str]) -> None:
    out = strategic.apply(META, {"finalizers": list(live)}, {"$deleteFromPrimitiveList/finalizers": gone})
    assert out["finalizers"] == [name for name in live if name not in gone]


@given(UNIQUE, UNIQUE, UNIQUE)
def test_texts_in_an_order(live: list[str], patch: list[str], order: list[str]) -> None:
    order = [*patch, *(name for name in order if name not in patch)]
    out = strategic.apply(META, {"finalizers": list(live)}, {"finalizers": patch, "$setElementOrder/finalizers": order})
    merged = interleaved(list(dict.fromkeys(live + patch)), patch, live) if live else patch
    assert out.get("finalizers", []) == interleaved(merged, order, live)


@given(UNIQUE, UNIQUE, UNIQUE)
def test_objects_by_key(live: list[str], patch: list[str], gone: list[str]) -> None:
    """Deletions first, wherever they stand; then what is left is merged by uid."""
    before = {"ownerReferences": [{"uid": uid, "name": "old"} for uid in live]}
    deleted = [{"uid": uid, "$patch": "delete"} for uid in gone]
    wanted = [{"uid": uid, "name": "new"} for uid in patch]
    out = strategic.apply(META, before, {"ownerReferences": [*wanted, *deleted]})
    left = [uid for uid in live if uid not in gone] if live else live
    merged = interleaved(list(dict.fromkeys(left + patch)), patch, left)
    assert [owner["uid"] for owner in out["ownerReferences"]] == merged
    assert all(owner["name"] == ("new" if owner["uid"] in patch else "old") for owner in out["ownerReferences"])


@given(UNIQUE, UNIQUE)
def test_an_order_that_does_not_fit(patch: list[str], order: list[str]) -> None:
    fits = not order or [name for name in order if name in patch] == patch
    change = {"finalizers": patch, "$setElementOrder/finalizers": order}
    if fits:
        strategic.apply(META, {"finalizers": ["z"]}, change)
        return
    with pytest.raises(errors.StatusError, match="The order in patch list"):
        strategic.apply(META, {"finalizers": ["z"]}, change)

"""The judge of `make soak` sees what is missing, doubled, out of order or invented."""

from conformance.ledger import Change, Ledger, Segment, View

CHANGES = {
    2: Change("ADDED", "n1", "a-1"),
    3: Change("ADDED", "n2", "b-1"),
    5: Change("MODIFIED", "n1", "a-1"),
    6: Change("DELETED", "n1", "a-1"),
}


def ledger() -> Ledger:
    out = Ledger()
    for revision, change in CHANGES.items():
        out.record(revision, change)
    return out


def segment(since: int, until: int, *revisions: int) -> Segment:
    out = Segment(since)
    for revision in revisions:
        out.add(revision, CHANGES[revision])
    out.until = until
    return out


def faults(view: View, *segments: Segment) -> list[str]:
    out = ledger()
    out.check([("w", view, [*segments])])
    return out.faults


def test_all_is_well() -> None:
    assert faults(View(), segment(0, 6, 2, 3, 5, 6)) == []
    assert faults(View("n1"), segment(2, 9, 5, 6)) == []
    assert faults(View(part="b"), segment(0, 6, 3)) == []
    assert faults(View("n1", name="a-1"), segment(0, 2, 2), segment(5, 6, 6)) == [], "a gap between stretches is no fault"


def test_what_is_missing_or_doubled() -> None:
    assert faults(View(), segment(0, 6, 2, 3, 6)) == ["w View(namespace='', part='', name=''): saw 3 changes of 4 in (0, 6]"]
    assert len(faults(View("n1"), segment(0, 6, 2, 5, 5, 6))) == 1


def test_the_wrong_ones() -> None:
    assert faults(View("n2"), segment(0, 6, 2)) == ["w View(namespace='n2', part='', name=''): saw 1 changes of 1 in (0, 6], but others"]


def test_two_tell_different_stories() -> None:
    out = ledger()
    out.record(5, Change("MODIFIED", "n1", "a-2"))
    assert len(out.faults) == 1


def test_acknowledged_writes_are_seen() -> None:
    out = ledger()
    out.acknowledged = {2: CHANGES[2], 4: Change("ADDED", "n1", "c-1"), 9: Change("ADDED", "n1", "d-1"), 3: Change("ADDED", "n1", "x")}
    out.check([("w", View(), [segment(0, 6, 2, 3, 5, 6)])])
    assert [text.split(" at ")[1] for text in out.faults] == ["4 and seen by nobody", f"3, seen was {CHANGES[3]}"], "9 is behind the end"

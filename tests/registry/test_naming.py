"""Names of definitions, their conditions, and approval of the project's own groups."""


import pytest

from kapi.objects.meta import Object
from kapi.registry import naming

NAMES: Object = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList", "shortNames": ["th"]}


def definition(names: Object = NAMES, group: str = "example.com", status: Object | None = None, approved: str = "") -> Object:
    annotations = {naming.APPROVED_ANNOTATION: approved}
    return {"metadata": {"annotations": annotations}, "spec": {"group": group, "names": names}, "status": status or {}}


def condition(status: Object, kind: str) -> tuple[str, str, str]:
    found = next(c for c in status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"], found["message"]


@pytest.mark.parametrize(
    ("other", "reason", "message"),
    [
        ({"plural": "things"}, "PluralConflict", '"things" is already in use'),
        ({"singular": "thing"}, "SingularConflict", '"thing" is already in use'),
        ({"plural": "th"}, "ShortNamesConflict", '"th" is already in use'),
        ({"kind": "Thing"}, "KindConflict", '"Thing" is already in use'),
        ({"kind": "ThingList"}, "ListKindConflict", '"ThingList" is already in use'),
    ],
)
def test_conflicts(other: Object, reason: str, message: str) -> None:
    status = naming.calculate_status(definition(), [other])
    assert condition(status, "NamesAccepted") == ("False", reason, message)
    assert condition(status, "Established") == ("False", "NotAccepted", "not all names are accepted")


def test_names_change_after_they_were_accepted() -> None:
    first = naming.calculate_status(definition(), [])
    changed: Object = {**NAMES, "shortNames": ["th", "tg"], "categories": ["all"]}
    second = naming.calculate_status(definition(changed, status=first), [{"plural": "others", "shortNames": ["tg"]}])
    assert second["acceptedNames"] == {**NAMES, "categories": ["all"]}
    assert condition(second, "NamesAccepted")[1] == "ShortNamesConflict"
    assert condition(second, "Established")[0] == "True"
    assert naming.calculate_status(definition(changed, status=first), [])["acceptedNames"] == changed


def test_a_condition_s_time_is_that_of_its_status() -> None:
    status: Object = {"conditions": [{"type": "A", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    naming.set_condition(status, {"type": "A", "status": "True", "reason": "New"})
    assert status["conditions"][0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    naming.set_condition(status, {"type": "A", "status": "False", "reason": "New"})
    assert status["conditions"][0]["lastTransitionTime"] != "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("", "False", "MissingAnnotation"), ("unapproved, why", "False", "UnapprovedAnnotation"),
        ("https://github.com/kubernetes/kubernetes/pull/1", "True", "ApprovedAnnotation"), ("yes", "False", "InvalidAnnotation"),
    ],
)  # fmt: skip
def test_approval(text: str, value: str, reason: str) -> None:
    status = naming.calculate_status(definition(group="things.k8s.io", approved=text), [])
    assert condition(status, "KubernetesAPIApprovalPolicyConformant")[:2] == (value, reason)
    assert not naming.is_protected_group("k8s.io.example.com")

"""CertificateSigningRequests: who may decide, and when it was decided."""

from copy import deepcopy
from typing import Any

import pytest

from kapi.objects import time
from kapi.registry.kinds.certificates import CertificateSigningRequestStrategy

REQUESTS = CertificateSigningRequestStrategy()
NOW = "2026-01-02T03:04:05Z"
YES = {"type": "Approved", "status": "True", "reason": "r"}
FAILED = {"type": "Failed", "status": "True"}
TIMES = {"lastUpdateTime": NOW, "lastTransitionTime": NOW}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "now", lambda: time.parse(NOW))


def changed(subresource: str, before: list[Any], after: list[Any], **more: Any) -> dict[str, Any]:
    old = {"metadata": {}, "spec": {"signerName": "a.b/c"}, "status": {"certificate": "YQ==", "conditions": before}}
    new = {**deepcopy(old), "status": {"certificate": "YQ==", "conditions": deepcopy(after), **more}}
    REQUESTS.prepare_subresource(subresource, new, old)
    return new


def test_an_approval_is_dated() -> None:
    assert changed("approval", [], [YES])["status"]["conditions"] == [{**YES, **TIMES}]


def test_an_approval_changes_conditions_only() -> None:
    assert changed("approval", [], [YES], certificate="Yg==")["status"]["certificate"] == "YQ=="


def test_a_transition_keeps_its_time() -> None:
    earlier = {**YES, "lastUpdateTime": "2025-01-01T00:00:00Z", "lastTransitionTime": "2025-01-01T00:00:00Z"}
    assert changed("approval", [earlier], [YES])["status"]["conditions"] == [{**YES, **TIMES, "lastTransitionTime": "2025-01-01T00:00:00Z"}]


def test_the_status_endpoint_approves_nothing() -> None:
    assert "conditions" not in changed("status", [], [YES])["status"]
    assert changed("status", [{**YES, **TIMES}], [FAILED])["status"]["conditions"] == [{**YES, **TIMES}, {**FAILED, **TIMES}]

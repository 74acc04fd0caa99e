"""The harness itself: it sees memory and a held loop where there are some, and little where there is little."""

import pytest

from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
MAPS = "/api/v1/namespaces/default/configmaps"


def test_ordinary_requests_cost_little(victim: Victim) -> None:
    with victim.watched("200 ordinary creates") as cost:
        for number in range(200):
            assert victim.ask("POST", MAPS, {"metadata": {"name": f"m-{number}"}})[0] == 201
    cost.check()
    assert cost.gets > 10


def test_a_large_body_is_seen(victim: Victim) -> None:
    with victim.watched("the largest ConfigMap", bystander=False) as cost:
        assert victim.ask("POST", MAPS, {"metadata": {"name": "large"}, "data": {"k": "x" * (1 << 20)}})[0] == 201
    assert cost.megabytes > 1
    assert cost.held > 0.5
    cost.check()

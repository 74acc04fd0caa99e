"""Small objects for the tests of pods and workloads, and causes as lines of text."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from kapi.objects.meta import Object
from kapi.registry.strategy import Strategy


def pod(**spec: Any) -> Object:
    """A pod with one container `c`; `spec` is laid over its spec."""
    return {"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def template(**spec: Any) -> Object:
    return {"metadata": {"labels": {"a": "b"}}, "spec": pod(**spec)["spec"]}


def workload(**spec: Any) -> Object:
    """Something with a selector that selects its template."""
    return {
        "metadata": {"name": "w", "namespace": "d", "uid": "u"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template(), **spec},
    }


def job(**spec: Any) -> Object:
    return {"metadata": {"name": "j", "namespace": "d", "uid": "u"}, "spec": {"template": template(restartPolicy="Never"), **spec}}


def container(**fields: Any) -> list[Object]:
    return [{"name": "c", "image": "i", **fields}]


def made(strategy: Strategy, obj: Object) -> Object:
    """A new object as the pipeline has it before validation."""
    strategy.default(obj)
    strategy.prepare(obj, None)
    return obj


def faults(strategy: Strategy, obj: Object) -> list[str]:
    """What is wrong with a new object, as "field: message"."""
    made(strategy, obj)
    return [f"{cause.field}: {cause.message}" for cause in strategy.validate(obj, None)]


def change_faults(strategy: Strategy, old: Object, change: Callable[[Object], None]) -> list[str]:
    """What is wrong with changing `old` so."""
    made(strategy, old)
    new = deepcopy(old)
    change(new)
    strategy.default(new)
    strategy.prepare(new, old)
    return [f"{cause.field}: {cause.message}" for cause in strategy.validate(new, old)]

"""THE list of admission plugins, in stock's order, and the chain that asks them.

Which plugins care for a kind of request is worked out once: a plugin that does not costs nothing. Only what is a coroutine is
awaited. The first refusal ends the matter. When a webhook or policy changed the object, all who mutate are asked once more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import NamedTuple

from kapi.admission.certificates import CertificateApproval, CertificateSigning, CertificateSubjectRestriction
from kapi.admission.limit_ranger import LimitRanger
from kapi.admission.mutating_policy import MutatingAdmissionPolicy
from kapi.admission.namespace_lifecycle import NamespaceLifecycle
from kapi.admission.node_restriction import NodeRestriction
from kapi.admission.plugin import Authorizer, Plugin, Reader
from kapi.admission.pod_security import PodSecurity
from kapi.admission.pods import DefaultTolerationSeconds, PodTopologyLabels, Priority, RuntimeClass
from kapi.admission.privilege_escalation import PrivilegeEscalation
from kapi.admission.resource_quota import ResourceQuota
from kapi.admission.service_account import ServiceAccount
from kapi.admission.storage import (
    DefaultIngressClass,
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from kapi.admission.taint_nodes import TaintNodesByCondition
from kapi.admission.validating_policy import ValidatingAdmissionPolicy
from kapi.admission.webhooks import MutatingAdmissionWebhook, ValidatingAdmissionWebhook
from kapi.http.calling import Caller
from kapi.objects.errors import StatusError
from kapi.objects.metrics import Cell, Histogram
from kapi.objects.resource import Resource
from kapi.objects.user import Attributes, Decision
from kapi.registry.admission import Review
from kapi.registry.catalogue import Catalogue
from kapi.storage.store import Store

_BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)


class Step(NamedTuple):
    """A plugin's part in one kind of request."""

    method: Callable[[Review], Awaitable[None] | None]
    passed: Cell
    """Its durations."""
    refused: Cell


class Phase(NamedTuple):
    """Everything that mutates, or validates, one kind of request."""

    steps: tuple[Step, ...]
    passed: Cell
    """Durations of the whole."""
    refused: Cell


class Asked(NamedTuple):
    """Who is asked about one kind of request."""

    mutating: Phase
    checks: tuple[Callable[[Review], None], ...]
    validating: Phase


class Everybody:
    """Says yes: for a chain in front of which nobody authorizes."""

    def authorize(self, asked: Attributes) -> Decision:
        return Decision(True)


def plugins(
    reader: Reader, authorizer: Authorizer, catalogue: Catalogue, caller: Caller, escalation: Callable[[Review], None]
) -> tuple[Plugin, ...]:
    """The plugins stock runs by default, in its order, with NodeRestriction, which every installer turns on, and PrivilegeEscalation."""
    return (
        NamespaceLifecycle(reader),
        LimitRanger(reader),
        ServiceAccount(reader),
        NodeRestriction(reader, authorizer),
        TaintNodesByCondition(),
        PodSecurity(reader),
        Priority(reader),
        DefaultTolerationSeconds(),
        DefaultStorageClass(reader),
        StorageObjectInUseProtection(),
        PersistentVolumeClaimResize(reader),
        RuntimeClass(reader),
        CertificateApproval(authorizer),
        CertificateSigning(authorizer),
        CertificateSubjectRestriction(),
        DefaultIngressClass(reader),
        PodTopologyLabels(reader),
        MutatingAdmissionPolicy(reader, catalogue, authorizer),
        MutatingAdmissionWebhook(reader, catalogue, authorizer, caller),
        PrivilegeEscalation(escalation),
        ValidatingAdmissionPolicy(reader, catalogue, authorizer),
        ValidatingAdmissionWebhook(reader, catalogue, authorizer, caller),
        ResourceQuota(reader),
    )


class Chain:
    """The Admission of kapi.registry.admission."""

    def __init__(self, links: Sequence[Plugin]) -> None:
        self.plugins = tuple(links)
        self.durations = Histogram(
            "apiserver_admission_controller_admission_duration_seconds", "Seconds an admission plugin took, by what it was asked.",
            ("name", "operation", "rejected", "type"), _BOUNDS,
        )  # fmt: skip
        self.phases = Histogram(
            "apiserver_admission_step_admission_duration_seconds", "Seconds all plugins together took to admit or validate.",
            ("operation", "rejected", "type"), _BOUNDS,
        )  # fmt: skip
        self._asked: dict[tuple[str, Resource, str], Asked] = {}

    def _for(self, review: Review) -> Asked:
        """Who is asked about this kind of request."""
        key = (review.operation, review.kind.resource, review.subresource)
        asked = self._asked.get(key)
        if asked is None:
            if len(self._asked) > 4096:
                self._asked.clear()
            resource = review.kind.resource
            links = [p for p in self.plugins if p.handles(review.operation, resource, review.subresource)]
            mutating = [self._step(p, p.mutate, review, "admit") for p in links if type(p).mutate is not Plugin.mutate]
            validating = [self._step(p, p.validate, review, "validate") for p in links if type(p).validate is not Plugin.validate]
            checks = tuple(p.check for p in links if type(p).check is not Plugin.check)
            asked = self._asked[key] = Asked(self._phase(mutating, review, "admit"), checks, self._phase(validating, review, "validate"))
        return asked

    def _phase(self, steps: Sequence[Step], review: Review, name: str) -> Phase:
        return Phase(tuple(steps), *(self.phases.cell(review.operation, refused, name) for refused in ("false", "true")))

    def _step(self, plugin: Plugin, method: Callable[[Review], Awaitable[None] | None], review: Review, phase: str) -> Step:
        name = plugin.name or type(plugin).__name__
        cells = [self.durations.cell(name, review.operation, refused, phase) for refused in ("false", "true")]
        return Step(method, *cells)

    async def mutate(self, review: Review) -> None:
        asked = self._for(review)
        await _ask(asked.mutating, review)
        if review.again:
            review.reinvoked = True
            await _ask(asked.mutating, review)
        for check in asked.checks:
            check(review)

    async def validate(self, review: Review) -> None:
        await _ask(self._for(review).validating, review)


async def _ask(phase: Phase, review: Review) -> None:
    """One plugin after the other."""
    began = before = perf_counter()
    for method, passed, refused in phase.steps:
        try:
            waiting = method(review)
            if waiting is not None:
                await waiting
            elif review.long:
                await asyncio.sleep(0)  # each has a close look at the object
        except StatusError:
            now = perf_counter()
            refused.observe(now - before)
            phase.refused.observe(now - began)
            raise
        after = perf_counter()
        passed.observe(after - before)
        before = after
    phase.passed.observe(before - began)


def _allowed(review: Review) -> None:
    """Lets everybody grant everything: for a chain in front of which nobody authorizes."""


def default(
    store: Store, catalogue: Catalogue, authorizer: Authorizer | None = None, caller: Caller | None = None,
    escalation: Callable[[Review], None] = _allowed,
) -> Chain:  # fmt: skip
    """The chain of an API server; whoever gives a caller closes it. `escalation` refuses roles that give more than their writer has."""
    return Chain(plugins(Reader(store, catalogue), authorizer or Everybody(), catalogue, caller or Caller(), escalation))

"""The list of admission plugins, in stock's order, and the chain that runs them.

Which plugins handle a kind of request is computed once: those that do not cost nothing. Only coroutines are awaited. The first error
ends the request. When a webhook or policy changed the object, all mutating plugins run once more (reinvocation).
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
from kapi.http.webhook_client import WebhookClient
from kapi.objects.errors import StatusError
from kapi.objects.metrics import Cell, Histogram
from kapi.objects.resource import Resource
from kapi.objects.user import Attributes, Decision
from kapi.registry.admission import AdmissionAttributes
from kapi.registry.catalogue import Catalogue
from kapi.storage.store import Store

_BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
Method = Callable[[AdmissionAttributes], Awaitable[None] | None]


class Step(NamedTuple):
    """One method of a plugin, with its metrics."""

    method: Method
    admitted: Cell
    """Durations of requests it admitted."""
    rejected: Cell


class Phase(NamedTuple):
    """All mutating, or all validating, plugins of one kind of request."""

    steps: tuple[Step, ...]
    admitted: Cell
    """Durations of the whole phase."""
    rejected: Cell


class Handlers(NamedTuple):
    """The plugins' methods for one kind of request."""

    mutating: Phase
    checks: tuple[Callable[[AdmissionAttributes], None], ...]
    validating: Phase


class AlwaysAllow:
    """Authorizer of a chain without authorization."""

    def authorize(self, attributes: Attributes) -> Decision:
        return Decision(True)


def plugins(
    reader: Reader, authorizer: Authorizer, catalogue: Catalogue, caller: WebhookClient, escalation: Callable[[AdmissionAttributes], None]
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

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self.durations = Histogram(
            "apiserver_admission_controller_admission_duration_seconds", "Seconds an admission plugin took, by what it was asked.",
            ("name", "operation", "rejected", "type"), _BOUNDS,
        )  # fmt: skip
        self.phases = Histogram(
            "apiserver_admission_step_admission_duration_seconds", "Seconds all plugins together took to admit or validate.",
            ("operation", "rejected", "type"), _BOUNDS,
        )  # fmt: skip
        self._known: dict[tuple[str, Resource, str], Handlers] = {}

    def _handlers(self, attrs: AdmissionAttributes) -> Handlers:
        """Those of this operation, resource and subresource; computed once."""
        key = (attrs.operation, attrs.kind.resource, attrs.subresource)
        handlers = self._known.get(key)
        if handlers is None:
            if len(self._known) > 4096:
                self._known.clear()
            resource = attrs.kind.resource
            plugins = [p for p in self.plugins if p.handles(attrs.operation, resource, attrs.subresource)]
            mutating = [self._step(p, p.mutate, attrs, "admit") for p in plugins if type(p).mutate is not Plugin.mutate]
            validating = [self._step(p, p.validate, attrs, "validate") for p in plugins if type(p).validate is not Plugin.validate]
            checks = tuple(p.check for p in plugins if type(p).check is not Plugin.check)
            admit, validate = self._phase(mutating, attrs, "admit"), self._phase(validating, attrs, "validate")
            handlers = self._known[key] = Handlers(admit, checks, validate)
        return handlers

    def _phase(self, steps: Sequence[Step], attrs: AdmissionAttributes, name: str) -> Phase:
        return Phase(tuple(steps), *(self.phases.cell(attrs.operation, rejected, name) for rejected in ("false", "true")))

    def _step(self, plugin: Plugin, method: Method, attrs: AdmissionAttributes, phase: str) -> Step:
        name = plugin.name or type(plugin).__name__
        cells = [self.durations.cell(name, attrs.operation, rejected, phase) for rejected in ("false", "true")]
        return Step(method, *cells)

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        handlers = self._handlers(attrs)
        await _run(handlers.mutating, attrs)
        if attrs.should_reinvoke:
            attrs.is_reinvoke = True
            await _run(handlers.mutating, attrs)
        for check in handlers.checks:
            check(attrs)

    async def validate(self, attrs: AdmissionAttributes) -> None:
        await _run(self._handlers(attrs).validating, attrs)

    def waits(self, attrs: AdmissionAttributes) -> bool:
        return any(plugin.waits(attrs) for plugin in self.plugins)


async def _run(phase: Phase, attrs: AdmissionAttributes) -> None:
    """One plugin after the other."""
    began = before = perf_counter()
    for method, admitted, rejected in phase.steps:
        try:
            waiting = method(attrs)
            if waiting is not None:
                await waiting
            elif attrs.long:
                await asyncio.sleep(0)  # each may look at the whole of a large object
        except StatusError:
            now = perf_counter()
            rejected.observe(now - before)
            phase.rejected.observe(now - began)
            raise
        after = perf_counter()
        admitted.observe(after - before)
        before = after
    phase.admitted.observe(before - began)


def _no_escalation_check(attrs: AdmissionAttributes) -> None:
    """For a chain without authorization: every role may be granted."""


def default(
    store: Store, catalogue: Catalogue, authorizer: Authorizer | None = None, caller: WebhookClient | None = None,
    escalation: Callable[[AdmissionAttributes], None] = _no_escalation_check,
) -> Chain:  # fmt: skip
    """The chain of an API server; who passes a caller closes it. `escalation` rejects roles with permissions their writer does not have."""
    return Chain(plugins(Reader(store, catalogue), authorizer or AlwaysAllow(), catalogue, caller or WebhookClient(), escalation))

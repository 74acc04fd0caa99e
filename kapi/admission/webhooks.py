"""MutatingAdmissionWebhook and ValidatingAdmissionWebhook: call HTTPS webhooks before an object is written.

Rules and selectors are in `matching`, the messages in `admission_review`, connections in `webhook_client`. Mutating webhooks are called
one after the other, and again by their reinvocationPolicy when the object changed after them; validating ones are called in parallel.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import orjson

from kapi import limits, logs
from kapi.admission import admission_review
from kapi.admission.admission_review import AdmissionResponse, VersionedAttributes
from kapi.admission.matching import GROUP, Criteria, is_exempt
from kapi.admission.plugin import Authorizer, Plugin, Reader, forbidden
from kapi.admission.service_resolver import locator
from kapi.http.webhook_client import CallFailed, NoClient, Target, WebhookClient
from kapi.objects import errors, patch, together
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import Resource
from kapi.registry.admission import AdmissionAttributes
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.registry.reviews import InvalidResponse, parse_json
from kapi.schema.reading import DecodeError

if TYPE_CHECKING:
    from kapi.admission.expressions import MatchConditions

log = logging.getLogger(__name__)

_DRY_RUN_SIDE_EFFECTS = ("None", "NoneOnDryRun")


class CallingWebhookError(Exception):
    """A webhook could not be called, or returned no valid response; failurePolicy decides what follows."""

    def __init__(self, webhook: str, why: str) -> None:
        super().__init__(f"failed calling webhook {go_quote(webhook)}: {why}")


class Webhook:
    """One webhook of one configuration."""

    def __init__(self, configuration: str, index: int, webhook: Object) -> None:
        self.name: str = webhook.get("name") or ""
        self.configuration = configuration
        self.uid = f"{configuration}/{self.name}/{index}"
        self.criteria = Criteria(webhook)
        self.ignore_errors = webhook.get("failurePolicy") == "Ignore"
        self.reinvoke_if_needed = webhook.get("reinvocationPolicy") == "IfNeeded"
        self.timeout: int = webhook.get("timeoutSeconds") or 10
        self.supports_dry_run = webhook.get("sideEffects") in _DRY_RUN_SIDE_EFFECTS
        self.match_conditions: list[Object] = webhook.get("matchConditions") or []
        self._client: Object = webhook.get("clientConfig") or {}
        accepted = webhook.get("admissionReviewVersions") or ()
        self.version = next((v for v in accepted if v in admission_review.VERSIONS), "")

    @cached_property
    def target(self) -> Target:
        """Its URL and CA."""
        return Target.of(self._client)

    @cached_property
    def compiled_conditions(self) -> "MatchConditions":
        """The compiled matchConditions."""
        from kapi.admission import expressions  # see Webhooks.should_call

        return expressions.MatchConditions(self.match_conditions, self.ignore_errors)

    @property
    def long(self) -> bool:
        """Whether its conditions may take long, or are not compiled yet."""
        return "compiled_conditions" not in self.__dict__ or self.compiled_conditions.max_cost > limits.OFFLOAD_COST

    @property
    def service(self) -> Object | None:
        return self._client.get("service")


@dataclass(slots=True)
class ReinvokeContext:
    """What the mutating webhooks of a request need for the second call, as stock's webhookReinvokeContext. Entries are uids."""

    previously_invoked: set[str] = field(default_factory=set)
    """Webhooks with reinvocationPolicy IfNeeded that have seen the object as it is now."""
    reinvoke: set[str] = field(default_factory=set)
    """Those after which the object changed: they are called again."""
    last_output: Object | None = None
    """The object after the last webhook of the first round."""

    def require_reinvocation(self) -> None:
        self.reinvoke |= self.previously_invoked
        self.previously_invoked.clear()


class Webhooks(Plugin):
    """Base of the two webhook plugins: the list of webhooks, and the call of one."""

    configurations: ClassVar[Resource]
    mutating: ClassVar[bool]

    def __init__(self, reader: Reader, catalogue: Catalogue, authorizer: Authorizer, caller: WebhookClient) -> None:
        self.reader, self.catalogue, self.authorizer, self.caller = reader, catalogue, authorizer, caller
        self._listed: list[Object] = []
        self._hooks: list[Webhook] = []

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return not is_exempt(resource)

    @cached_property
    def _lister(self) -> Callable[[], list[Object]]:
        return self.reader.lister(self.configurations)

    def hooks(self) -> list[Webhook]:
        """The current webhooks, by name of configuration, then in its order."""
        listed = self._lister()
        if listed is not self._listed:
            self._hooks = [
                Webhook(configuration["metadata"]["name"], i, webhook)
                for configuration in listed
                for i, webhook in enumerate(configuration.get("webhooks") or ())
            ]
            self._listed = listed
        return self._hooks

    def waits(self, attrs: AdmissionAttributes) -> bool:
        return self.handles("", attrs.kind.resource, "") and any(hook.criteria.affects(attrs, self.catalogue) for hook in self.hooks())

    async def should_call(self, webhook: Webhook, attrs: AdmissionAttributes) -> Kind | None:
        """The kind to convert the object to, or None when the webhook does not match. Raises Forbidden when its matchConditions fail."""
        kind = webhook.criteria.matches(attrs, self.reader, self.catalogue)
        if kind is None or not webhook.match_conditions:
            return kind
        versioned = await VersionedAttributes.of(attrs, kind)
        matched, wrong = await attrs.run(self._match_conditions, webhook, attrs, versioned, long=webhook.long, rules=True)
        if wrong:
            raise forbidden(attrs, wrong)
        return kind if matched else None

    def _match_conditions(self, webhook: Webhook, attrs: AdmissionAttributes, versioned: VersionedAttributes) -> tuple[bool, str]:
        from kapi.admission import expressions  # only servers with conditions load CEL

        return webhook.compiled_conditions.matches(expressions.activation(attrs, versioned, self.authorizer))

    async def call(self, webhook: Webhook, attrs: AdmissionAttributes, versioned: VersionedAttributes) -> AdmissionResponse | None:
        """The response of a webhook; None when the call failed and failurePolicy is Ignore. Raises StatusError when it denies."""
        try:
            response = await self._call(webhook, attrs, versioned)
        except CallingWebhookError as failed:
            self.handle_failure(webhook, attrs, failed)
            return None
        attrs.annotations |= {f"{webhook.name}/{key}": value for key, value in response.annotations.items()}
        attrs.warnings += response.warnings
        if not response.allowed:
            raise admission_review.rejection(webhook.name, response.status)
        return response

    def handle_failure(self, webhook: Webhook, attrs: AdmissionAttributes, why: CallingWebhookError) -> None:
        """Ignore a failed call, or raise InternalError, by failurePolicy."""
        how = "open" if webhook.ignore_errors else "closed"
        handled = logs.once((webhook.uid, how), webhook=webhook.name, configuration=webhook.configuration, error=why)
        log.warning(f"Failed calling webhook, failing {how}", extra=handled)
        if not webhook.ignore_errors:
            raise errors.internal(str(why))
        attrs.annotations[f"failed-open.{self.phase}.webhook.admission.k8s.io/{webhook.name}"] = webhook.name

    @property
    def phase(self) -> str:
        return "mutation" if self.mutating else "validating"

    async def _call(self, webhook: Webhook, attrs: AdmissionAttributes, versioned: VersionedAttributes) -> AdmissionResponse:
        if attrs.dry_run and not webhook.supports_dry_run:
            raise errors.BadRequest(f"admission webhook {go_quote(webhook.name)} does not support dry run")
        uid, body = admission_review.encode_review(attrs, versioned, webhook.version)
        try:
            answered = await self.caller.post(webhook.target, body, webhook.timeout, locator(self.reader, webhook.service))
            answer = admission_review.decode_review(*answered)
        except NoClient as why:
            raise CallingWebhookError(webhook.name, f"could not get REST client: {why}") from None
        except (CallFailed, InvalidResponse) as why:
            raise CallingWebhookError(webhook.name, f"failed to call webhook: {why}") from None
        try:
            return admission_review.verify_response(answer, uid, webhook.version, mutating=self.mutating)
        except InvalidResponse as why:
            raise CallingWebhookError(webhook.name, f"received invalid webhook response: {why}") from None


class MutatingAdmissionWebhook(Webhooks):
    name = "MutatingAdmissionWebhook"
    configurations = Resource(GROUP, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False)
    mutating = True

    def mutate(self, attrs: AdmissionAttributes) -> Awaitable[None] | None:
        hooks = self.hooks()
        return self._mutate(attrs, hooks) if hooks else None

    async def _mutate(self, attrs: AdmissionAttributes, hooks: list[Webhook]) -> None:
        context: ReinvokeContext = attrs.reinvocation_values.setdefault(self.name, ReinvokeContext())
        if attrs.is_reinvoke and context.last_output != attrs.new:
            context.require_reinvocation()
        for webhook in hooks:
            kind = await self.should_call(webhook, attrs)
            if kind is None or (attrs.is_reinvoke and webhook.uid not in context.reinvoke):
                continue
            if await self._apply(webhook, attrs, await VersionedAttributes.of(attrs, kind)):
                context.require_reinvocation()
                attrs.should_reinvoke = True
            if webhook.reinvoke_if_needed:
                context.previously_invoked.add(webhook.uid)
        context.last_output = orjson.loads(orjson.dumps(attrs.new)) if context.previously_invoked or context.reinvoke else None

    async def _apply(self, webhook: Webhook, attrs: AdmissionAttributes, versioned: VersionedAttributes) -> bool:
        """Call a webhook and apply its patch; True when that changed the object."""
        response = await self.call(webhook, attrs, versioned)
        if response is None or not response.patch:
            return False
        operations = self._operations(webhook, attrs, response)
        if not operations:
            return False
        before = versioned.convert(attrs.new)
        if before is None:
            why = f"admission webhook {go_quote(webhook.name)} attempted to modify the object, which is not supported for this operation"
            raise errors.internal(why)
        try:
            patched = patch.json_patch(orjson.loads(orjson.dumps(before)), operations)
        except errors.Invalid as why:
            raise errors.internal(str(why.__cause__ or why)) from None
        try:
            versioned.replace(patched)
        except DecodeError as why:
            raise errors.internal(str(why)) from None
        changed = versioned.convert(attrs.new) != before
        await versioned.settle()
        return changed

    def _operations(self, webhook: Webhook, attrs: AdmissionAttributes, response: AdmissionResponse) -> list[Object]:
        """The operations of the JSON patch; [] when it is invalid and failurePolicy is Ignore."""
        try:
            operations: list[Object] = parse_json(response.patch)
            patch.check(operations, "Ignore")
        except (orjson.JSONDecodeError, InvalidResponse, errors.StatusError) as why:
            self.handle_failure(webhook, attrs, CallingWebhookError(webhook.name, f"received undecodable patch in webhook response: {why}"))
            return []
        if response.patch_type != admission_review.JSON_PATCH:
            unsupported = f"unsupported patch type {go_quote(response.patch_type)}"
            self.handle_failure(webhook, attrs, CallingWebhookError(webhook.name, unsupported))
            return []
        return operations


class ValidatingAdmissionWebhook(Webhooks):
    name = "ValidatingAdmissionWebhook"
    configurations = Resource(GROUP, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False)
    mutating = False

    def validate(self, attrs: AdmissionAttributes) -> Awaitable[None] | None:
        hooks = self.hooks()
        return self._validate(attrs, hooks) if hooks else None

    async def _validate(self, attrs: AdmissionAttributes, hooks: list[Webhook]) -> None:
        """Call all in parallel; of several errors the first in the order of webhooks is raised."""
        matching = [(webhook, kind) for webhook in hooks if (kind := await self.should_call(webhook, attrs)) is not None]
        calls = [self.call(webhook, attrs, await VersionedAttributes.of(attrs, kind)) for webhook, kind in matching]
        await together.run(calls)

"""MutatingAdmissionWebhook and ValidatingAdmissionWebhook: others are asked, over HTTPS, before something is written.

Who is asked about what is in `matching`, what is said in `admission_review`, the line in kapi.http.calling. Mutating webhooks are asked one
after the other, and those that wish so once more when something changed after them; validating ones all at once.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from kapi import limits, logs
from kapi.admission import admission_review
from kapi.admission.admission_review import BadAnswer, Subject, Verdict
from kapi.admission.matching import GROUP, Criteria, asked
from kapi.admission.plugin import Authorizer, Plugin, Reader, forbidden
from kapi.admission.service_resolver import endpoint
from kapi.http.calling import Caller, CallFailed, NoClient, Target, Unreachable
from kapi.objects import errors, patch
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import Resource
from kapi.registry.admission import Review
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.schema.reading import DecodeError

if TYPE_CHECKING:
    from kapi.admission.expressions import Conditions

log = logging.getLogger(__name__)

_NEEDED_FOR_DRY_RUN = ("None", "NoneOnDryRun")


class CallingFailed(Exception):
    """A webhook could not be asked, or gave no answer; failurePolicy says what follows."""

    def __init__(self, webhook: str, why: str) -> None:
        super().__init__(f"failed calling webhook {go_quote(webhook)}: {why}")


class Hook:
    """One webhook of one configuration."""

    def __init__(self, configuration: str, index: int, given: Object) -> None:
        self.name: str = given.get("name") or ""
        self.configuration = configuration
        self.uid = f"{configuration}/{self.name}/{index}"
        self.criteria = Criteria(given)
        self.forgiving = given.get("failurePolicy") == "Ignore"
        self.again = given.get("reinvocationPolicy") == "IfNeeded"
        self.seconds: int = given.get("timeoutSeconds") or 10
        self.dry = given.get("sideEffects") in _NEEDED_FOR_DRY_RUN
        self.conditional: list[Object] = given.get("matchConditions") or []
        self._client: Object = given.get("clientConfig") or {}
        accepted = given.get("admissionReviewVersions") or ()
        self.version = next((v for v in accepted if v in admission_review.VERSIONS), "")

    @cached_property
    def target(self) -> Target:
        """Where it is; a Service by its name within the cluster."""
        ca = base64.b64decode(self._client.get("caBundle") or "").decode(errors="replace")
        service = self.service
        if service is None:
            return Target(self._client.get("url") or "", ca)
        host = f"{service['name']}.{service['namespace']}.svc:{service.get('port') or 443}"
        return Target(f"https://{host}/{(service.get('path') or '').lstrip('/')}", ca)

    @cached_property
    def conditions(self) -> "Conditions":
        """What the request must be like besides."""
        from kapi.admission import expressions  # see Webhooks.wanted

        return expressions.Conditions(self.conditional, self.forgiving)

    @property
    def long(self) -> bool:
        """Whether its conditions may take long, or are yet to be compiled."""
        return "conditions" not in self.__dict__ or self.conditions.worst > limits.OFFLOAD_COST

    @property
    def service(self) -> Object | None:
        return self._client.get("service")


@dataclass(slots=True)
class Rounds:
    """What the mutating webhooks keep of a request between its two rounds."""

    asked: set[str] = field(default_factory=set)
    """Webhooks that wish to see later changes, and have not yet."""
    due: set[str] = field(default_factory=set)
    """Those among them that something changed after."""
    left: Object | None = None
    """The object as they left it."""

    def changed(self) -> None:
        self.due |= self.asked
        self.asked.clear()


class Webhooks(Plugin):
    """What both plugins have in common: the list of webhooks, and asking one of them."""

    configurations: ClassVar[Resource]
    mutating: ClassVar[bool]

    def __init__(self, reader: Reader, catalogue: Catalogue, authorizer: Authorizer, caller: Caller) -> None:
        self.reader, self.catalogue, self.authorizer, self.caller = reader, catalogue, authorizer, caller
        self._known: list[Object] = []
        self._hooks: list[Hook] = []

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return asked(resource)

    @cached_property
    def _listing(self) -> Callable[[], list[Object]]:
        return self.reader.listing(self.configurations)

    def hooks(self) -> list[Hook]:
        """The webhooks there are now, by name of configuration and then in its order."""
        listed = self._listing()
        if listed is not self._known:
            self._hooks = [
                Hook(configuration["metadata"]["name"], i, given)
                for configuration in listed
                for i, given in enumerate(configuration.get("webhooks") or ())
            ]
            self._known = listed
        return self._hooks

    async def wanted(self, hook: Hook, review: Review) -> Kind | None:
        """The kind a webhook wants to see, or None when it is not to be asked."""
        kind = hook.criteria.meets(review, self.reader, self.catalogue)
        if kind is None or not hook.conditional:
            return kind
        met, wrong = await review.run(self._met, hook, review, kind, long=hook.long)
        if wrong:
            raise forbidden(review, wrong)
        return kind if met else None

    def _met(self, hook: Hook, review: Review, kind: Kind) -> tuple[bool, str]:
        from kapi.admission import expressions  # only servers with conditions load CEL

        return hook.conditions.met(expressions.given(review, Subject(review, kind), self.authorizer))

    async def ask(self, hook: Hook, review: Review, subject: Subject) -> Verdict | None:
        """What the webhook says; None when it cannot be asked and that does not matter. Raises StatusError for a no."""
        try:
            verdict = await self._ask(hook, review, subject)
        except CallingFailed as failed:
            self.failed(hook, review, failed)
            return None
        review.annotations |= {f"{hook.name}/{key}": value for key, value in verdict.annotations.items()}
        review.warnings += verdict.warnings
        if not verdict.allowed:
            raise admission_review.refusal(hook.name, verdict.status)
        return verdict

    def failed(self, hook: Hook, review: Review, why: CallingFailed) -> None:
        """Let the request pass, or raise InternalError, as failurePolicy says."""
        how = "open" if hook.forgiving else "closed"
        about = logs.once((hook.uid, how), webhook=hook.name, configuration=hook.configuration, error=why)
        log.warning(f"Failed calling webhook, failing {how}", extra=about)
        if not hook.forgiving:
            raise errors.internal(str(why))
        review.annotations[f"failed-open.{self.phase}.webhook.admission.k8s.io/{hook.name}"] = hook.name

    @property
    def phase(self) -> str:
        return "mutation" if self.mutating else "validating"

    async def _ask(self, hook: Hook, review: Review, subject: Subject) -> Verdict:
        if review.dry_run and not hook.dry:
            raise errors.BadRequest(f"admission webhook {go_quote(hook.name)} does not support dry run")
        uid, body = admission_review.question(review, subject, hook.version)
        try:
            status, _, raw = await self.caller.post(hook.target, body, hook.seconds, self._locating(hook))
            answer = admission_review.parsed(status, raw)
        except NoClient as why:
            raise CallingFailed(hook.name, f"could not get REST client: {why}") from None
        except (CallFailed, BadAnswer) as why:
            raise CallingFailed(hook.name, f"failed to call webhook: {why}") from None
        try:
            return admission_review.verdict(answer, uid, hook.version, mutating=self.mutating)
        except BadAnswer as why:
            raise CallingFailed(hook.name, f"received invalid webhook response: {why}") from None

    def _locating(self, hook: Hook) -> Any:
        service = hook.service
        if service is None:
            return None

        async def locate() -> tuple[str, int]:
            try:
                return endpoint(self.reader, service["namespace"], service["name"], service.get("port") or 443)
            except errors.StatusError as none:
                raise Unreachable(none.message) from None

        return locate


class MutatingAdmissionWebhook(Webhooks):
    name = "MutatingAdmissionWebhook"
    configurations = Resource(GROUP, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False)
    mutating = True

    def mutate(self, review: Review) -> Awaitable[None] | None:
        hooks = self.hooks()
        return self._mutate(review, hooks) if hooks else None

    async def _mutate(self, review: Review, hooks: list[Hook]) -> None:
        rounds: Rounds = review.notes.setdefault(self.name, Rounds())
        if review.reinvoked and rounds.left != review.new:
            rounds.changed()
        for hook in hooks:
            kind = await self.wanted(hook, review)
            if kind is None or (review.reinvoked and hook.uid not in rounds.due):
                continue
            if await self._apply(hook, review, Subject(review, kind)):
                rounds.changed()
                review.again = True
            if hook.again:
                rounds.asked.add(hook.uid)
        rounds.left = orjson.loads(orjson.dumps(review.new)) if rounds.asked or rounds.due else None

    async def _apply(self, hook: Hook, review: Review, subject: Subject) -> bool:
        """Ask, and do what the answer says; whether that changed something."""
        verdict = await self.ask(hook, review, subject)
        if verdict is None or not verdict.patch:
            return False
        operations = self._operations(hook, review, verdict)
        if not operations:
            return False
        before = subject.show(review.new)
        if before is None:
            why = f"admission webhook {go_quote(hook.name)} attempted to modify the object, which is not supported for this operation"
            raise errors.internal(why)
        try:
            patched = patch.json_patch(orjson.loads(orjson.dumps(before)), operations)
        except errors.Invalid as why:
            raise errors.internal(str(why.__cause__ or why)) from None
        try:
            subject.take(patched)
        except DecodeError as why:
            raise errors.internal(str(why)) from None
        return subject.show(review.new) != before

    def _operations(self, hook: Hook, review: Review, verdict: Verdict) -> list[Object]:
        """The JSON patch; none when it cannot be read and that does not matter."""
        try:
            operations: list[Object] = admission_review.values(verdict.patch)
            patch.check(operations, "Ignore")
        except (orjson.JSONDecodeError, BadAnswer, errors.StatusError) as why:
            self.failed(hook, review, CallingFailed(hook.name, f"received undecodable patch in webhook response: {why}"))
            return []
        if verdict.patch_type != admission_review.JSON_PATCH:
            self.failed(hook, review, CallingFailed(hook.name, f"unsupported patch type {go_quote(verdict.patch_type)}"))
            return []
        return operations


class ValidatingAdmissionWebhook(Webhooks):
    name = "ValidatingAdmissionWebhook"
    configurations = Resource(GROUP, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False)
    mutating = False

    def validate(self, review: Review) -> Awaitable[None] | None:
        hooks = self.hooks()
        return self._validate(review, hooks) if hooks else None

    async def _validate(self, review: Review, hooks: list[Hook]) -> None:
        """All at once; of several that say no the first in order is heard."""
        chosen = [(hook, kind) for hook in hooks if (kind := await self.wanted(hook, review)) is not None]
        asked = [self.ask(hook, review, Subject(review, kind)) for hook, kind in chosen]
        for said in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(said, BaseException):
                raise said

"""Webhook configurations, and what they share with admission policies: rules of what is matched, conditions, selectors."""

from typing import Any, ClassVar
from urllib.parse import urlsplit

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy
from kapi.schema.cel import admission
from kapi.schema.cel.types import Type

Object = dict[str, Any]

OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
FAILURES = ("Fail", "Ignore")
MATCHES = ("Equivalent", "Exact")
SIDE_EFFECTS = ("None", "NoneOnDryRun")
REVIEW_VERSIONS = ("v1", "v1beta1")
MOST_CONDITIONS = 64
URL_FORM = "desired format: https://host[/path]"


class WebhookStrategy(Strategy):
    """ValidatingWebhookConfiguration."""

    loose_finalizers = True
    status = False
    unconditional_update = False
    mutating: ClassVar[bool] = False
    columns = rules.columns("Name", "Webhooks#: Webhooks indicates the total number of webhooks defined in this configuration", "Age")

    def default(self, obj: Object) -> None:
        for hook in obj.get("webhooks") or ():
            hook.setdefault("name", "")
            hook.setdefault("failurePolicy", "Fail")
            default_match(hook)
            hook.setdefault("timeoutSeconds", 10)
            if self.mutating:
                hook.setdefault("reinvocationPolicy", "Never")
            hook.setdefault("clientConfig", {})
            hook.setdefault("sideEffects", None)
            hook.setdefault("admissionReviewVersions", None)
            default_rules(hook.get("rules"))
            if (service := hook["clientConfig"].get("service")) is not None:
                service.setdefault("port", 443)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        seen: set[str] = set()
        for i, hook in enumerate(new.get("webhooks") or ()):
            at, name = f"webhooks[{i}]", hook.get("name") or ""
            _validate_hook(e, at, hook, self.mutating)
            review_versions(e, f"{at}.admissionReviewVersions", hook.get("admissionReviewVersions") or [])
            if name:
                e.unique(f"{at}.name", name, seen)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], len(obj.get("webhooks") or ()), rules.age(obj, now)]


class MutatingWebhookStrategy(WebhookStrategy):
    """MutatingWebhookConfiguration."""

    mutating = True


def default_match(obj: Object) -> None:
    """The defaults of a webhook's or a policy's matching."""
    obj.setdefault("matchPolicy", "Equivalent")
    obj.setdefault("namespaceSelector", {})
    obj.setdefault("objectSelector", {})


def default_rules(listed: list[Object] | None) -> None:
    for rule in listed or ():
        rule.setdefault("scope", "*")


def _validate_hook(e: Errors, at: str, hook: Object, mutating: bool) -> None:
    if e.need(f"{at}.name", hook.get("name")):
        for message in names.fully_qualified(hook["name"]):
            e.invalid(f"{at}.name", hook["name"], message)
    for i, rule in enumerate(hook.get("rules") or ()):
        operations_rule(e, f"{at}.rules[{i}]", rule)
    for field, allowed in (("failurePolicy", FAILURES), ("matchPolicy", MATCHES)):
        if hook.get(field) is not None:
            e.enum(f"{at}.{field}", hook[field], allowed)
    if hook.get("sideEffects") is None:
        e.required(f"{at}.sideEffects", "must specify one of None, NoneOnDryRun")
    else:
        e.enum(f"{at}.sideEffects", hook["sideEffects"], SIDE_EFFECTS)
    if not 1 <= hook.get("timeoutSeconds", 10) <= 30:
        e.invalid(f"{at}.timeoutSeconds", hook["timeoutSeconds"], "the timeout value must be between 1 and 30 seconds")
    for field in ("namespaceSelector", "objectSelector"):
        rules.label_selector(e, f"{at}.{field}", hook.get(field))
    if mutating and hook.get("reinvocationPolicy") is not None:
        e.enum(f"{at}.reinvocationPolicy", hook["reinvocationPolicy"], ("IfNeeded", "Never"))
    _validate_client(e, f"{at}.clientConfig", hook.get("clientConfig") or {})
    conditions(e, f"{at}.matchConditions", hook.get("matchConditions") or [], admission.frame())


def review_versions(e: Errors, at: str, versions: list[str]) -> None:
    """admissionReviewVersions and conversionReviewVersions."""
    if not e.need(at, versions, f"must specify one of {', '.join(REVIEW_VERSIONS)}"):
        return
    seen: set[str] = set()
    for i, version in enumerate(versions):
        e.unique(f"{at}[{i}]", version, seen)
        for message in names.dns1035_label(version):
            e.invalid(f"{at}[{i}]", version, message)
    if not seen & set(REVIEW_VERSIONS):
        e.invalid(at, versions, f"must include at least one of {', '.join(REVIEW_VERSIONS)}")


def _validate_client(e: Errors, at: str, config: Object) -> None:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        e.required(at, "exactly one of url or service is required")
    elif url is not None:
        webhook_url(e, f"{at}.url", url)
    elif service is not None:  # stock reports an empty name as an empty namespace here, and the other way round
        webhook_service(e, f"{at}.service", {**service, "name": service.get("namespace"), "namespace": service.get("name")})


def webhook_url(e: Errors, field: str, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        e.invalid(field, url, f"url must be a valid URL: {error}; {URL_FORM}")
        return
    if parts.scheme != "https":
        e.invalid(field, parts.scheme, f"'https' is the only allowed URL scheme; {URL_FORM}")
    if not parts.netloc:
        e.invalid(field, parts.netloc, f"host must be specified; {URL_FORM}")
    if parts.username is not None:
        e.invalid(field, parts.username, "user information is not permitted in the URL")
    if parts.fragment:
        e.invalid(field, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        e.invalid(field, parts.query, "query parameters are not permitted in the URL")


def webhook_service(e: Errors, at: str, service: Object) -> None:
    for field in ("name", "namespace"):
        e.need(f"{at}.{field}", service.get(field))
    port = service.get("port", 443)
    if not 1 <= port <= 65535:
        e.invalid(f"{at}.port", port, f"port is not valid: {names.PORT_RANGE}")
    path = service.get("path")
    if path is None or path == "/":
        return
    if not path.startswith("/"):
        e.invalid(f"{at}.path", path, "must start with a '/'")
    segments = path.removeprefix("/").removesuffix("/").split("/")
    for i, segment in enumerate(segments):
        if not segment:
            e.invalid(f"{at}.path", path, f"segment[{i}] may not be empty")
            continue
        for message in names.dns_subdomain(segment):
            e.invalid(f"{at}.path", path, f"segment[{i}]: {message}")


def operations_rule(e: Errors, at: str, rule: Object) -> None:
    """What a webhook or policy is asked about."""
    operations = rule.get("operations") or []
    e.need(f"{at}.operations", operations)
    if len(operations) > 1 and "*" in operations:
        e.invalid(f"{at}.operations", operations, "if '*' is present, must not specify other operations")
    for i, operation in enumerate(operations):
        e.enum(f"{at}.operations[{i}]", operation, OPERATIONS)
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(field) or []
        e.need(f"{at}.{field}", values)
        if len(values) > 1 and "*" in values:
            e.invalid(f"{at}.{field}", values, f"if '*' is present, must not specify other {what}")
    for i, version in enumerate(rule.get("apiVersions") or ()):
        e.need(f"{at}.apiVersions[{i}]", version)
    _validate_resources(e, f"{at}.resources", rule.get("resources") or [])
    if rule.get("scope") is not None:
        e.enum(f"{at}.scope", rule["scope"], SCOPES)


def _validate_resources(e: Errors, at: str, resources: list[str]) -> None:
    e.need(at, resources)
    whole: set[str] = set()
    every: set[str] = set()
    for i, resource in enumerate(resources):
        if not e.need(f"{at}[{i}]", resource):
            continue
        name, _, sub = resource.partition("/")
        if name in whole and sub:
            e.invalid(f"{at}[{i}]", resource, f"if '{name}/*' is present, must not specify {resource}")
        if sub in every and sub and name != "*":
            e.invalid(f"{at}[{i}]", resource, f"if '*/{sub}' is present, must not specify {resource}")
        if sub == "*":
            whole.add(name)
        if name == "*" and sub:
            every.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        e.invalid(at, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and any("/" not in r and r != "*" for r in resources):
        e.invalid(at, resources, "if '*' is present, must not specify other resources without subresources")


def conditions(e: Errors, at: str, listed: list[Object], known: dict[str, Type]) -> None:
    """matchConditions; `known` is what their expressions may speak of."""
    if len(listed) > MOST_CONDITIONS:
        e.too_many(at, len(listed), MOST_CONDITIONS)
    seen: set[str] = set()
    for i, condition in enumerate(listed):
        name = condition.get("name") or ""
        if e.need(f"{at}[{i}].expression", (condition.get("expression") or "").strip()):
            e.expression(f"{at}[{i}].expression", condition["expression"], known, "bool")
        if e.named(f"{at}[{i}].name", name, names.qualified_name):
            e.unique(f"{at}[{i}].name", name, seen)

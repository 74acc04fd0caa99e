"""Webhook configurations, and what they share with admission policies: rules of what is matched, conditions, selectors."""

from typing import ClassVar

from kapi.cel import admission
from kapi.cel.types import Type
from kapi.objects import names, urls
from kapi.objects.meta import Object
from kapi.registry.defaults import Defaults
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, RuledStrategy
from kapi.registry.validation.rules import Errors

OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
FAILURES = ("Fail", "Ignore")
MATCHES = ("Equivalent", "Exact")
SIDE_EFFECTS = ("None", "NoneOnDryRun")
REVIEW_VERSIONS = ("v1", "v1beta1")
MOST_CONDITIONS = 64
URL_FORM = "desired format: https://host[/path]"


def matching(at: str, *rules: str) -> Defaults:
    """The defaults of what a webhook or a policy matches: the object at path `at`, and each list of rules in it."""
    selectors = {f"{at}.matchPolicy": "Equivalent", f"{at}.namespaceSelector": {}, f"{at}.objectSelector": {}}
    return {**selectors, **{f"{at}.{listed}[].scope": "*" for listed in rules}}


class WebhookStrategy(RuledStrategy):
    """ValidatingWebhookConfiguration."""

    long = True
    loose_finalizers = True
    status = False
    unconditional_update = False
    mutating: ClassVar[bool] = False
    columns = rules.columns(
        "Name", "Webhooks#@webhooks: Webhooks indicates the total number of webhooks defined in this configuration", "Age",
    )  # fmt: skip
    defaults = {
        "webhooks[].failurePolicy": "Fail", **matching("webhooks[]", "rules"), "webhooks[].timeoutSeconds": 10,
        "webhooks[].clientConfig.service.port": 443,
    }  # fmt: skip

    def check(self, new: Part, old: Object | None) -> None:
        seen: set[str] = set()
        for hook in new.parts("webhooks"):
            _check_hook(hook, self.mutating)
            review_versions(new.e, hook.path("admissionReviewVersions"), hook.items("admissionReviewVersions"))
            if hook.text("name"):
                hook.unique("name", seen)


class MutatingWebhookStrategy(WebhookStrategy):
    """MutatingWebhookConfiguration."""

    mutating = True
    defaults = {**WebhookStrategy.defaults, "webhooks[].reinvocationPolicy": "Never"}


def _check_hook(hook: Part, mutating: bool) -> None:
    hook.named("name", names.fully_qualified)
    for rule in hook.parts("rules"):
        check_rule(rule)
    hook.choice("failurePolicy", FAILURES)
    hook.choice("matchPolicy", MATCHES)
    if "sideEffects" in hook:
        hook.enum("sideEffects", SIDE_EFFECTS)
    else:
        hook.required("sideEffects", "must specify one of None, NoneOnDryRun")
    if not 1 <= hook.number("timeoutSeconds") <= 30:
        hook.invalid("timeoutSeconds", "the timeout value must be between 1 and 30 seconds")
    hook.selector("namespaceSelector")
    hook.selector("objectSelector")
    if mutating:
        hook.choice("reinvocationPolicy", ("IfNeeded", "Never"))
    _check_client(hook, hook.part("clientConfig"))
    check_conditions(hook, admission.frame())


def review_versions(e: Errors, at: str, versions: list[str], need: str = f"must specify one of {', '.join(REVIEW_VERSIONS)}") -> None:
    """admissionReviewVersions and conversionReviewVersions."""
    if not e.need(at, versions, need):
        return
    seen: set[str] = set()
    for i, version in enumerate(versions):
        if version in seen:
            e.invalid(f"{at}[{i}]", version, "duplicate version")
            continue
        seen.add(version)
        for message in names.dns1035_label(version):
            e.invalid(f"{at}[{i}]", version, message)
    if not seen & set(REVIEW_VERSIONS):
        e.invalid(at, versions, f"must include at least one of {', '.join(REVIEW_VERSIONS)}")


def _check_client(hook: Part, config: Part) -> None:
    if ("url" in config) == ("service" in config):
        hook.required("clientConfig", "exactly one of url or service is required")
    elif "url" in config:
        webhook_url(config.e, config.path("url"), config.text("url"))
    else:  # stock reports an empty name as an empty namespace here, and the other way round
        service = config.get("service")
        swapped = {**service, "name": service.get("namespace"), "namespace": service.get("name")}
        webhook_service(config.e, config.path("service"), swapped)


def webhook_url(e: Errors, field: str, url: str) -> None:
    try:
        parts = urls.parse(url)
    except ValueError as error:
        e.required(field, f"url must be a valid URL: {error}; {URL_FORM}")
        return
    if parts.scheme != "https":
        e.invalid(field, parts.scheme, f"'https' is the only allowed URL scheme; {URL_FORM}")
    if not parts.host:
        e.invalid(field, parts.host, f"host must be specified; {URL_FORM}")
    if parts.user is not None:
        e.invalid(field, parts.user, "user information is not permitted in the URL")
    for value, what in ((parts.fragment, "fragments"), (parts.query, "query parameters")):
        if value:
            e.invalid(field, value, f"{what} are not permitted in the URL")


def webhook_service(e: Errors, at: str, service: Object) -> None:
    for field in ("name", "namespace"):
        e.need(f"{at}.{field}", service.get(field))
    port = service.get("port", 443)
    if not 1 <= port <= 65535:
        e.invalid(f"{at}.port", port, f"port is not valid: {names.PORT_RANGE}")
    path = service.get("path")
    if path in (None, "", "/"):
        return
    if path == "//":
        e.invalid(f"{at}.path", path, "segment[0] may not be empty")
        return
    if not path.startswith("/"):
        e.invalid(f"{at}.path", path, "must start with a '/'")
    segments = path[1:].removesuffix("/").split("/")
    for i, segment in enumerate(segments):
        if not segment:
            e.invalid(f"{at}.path", path, f"segment[{i}] may not be empty")
            continue
        for message in names.dns_subdomain(segment):
            e.invalid(f"{at}.path", path, f"segment[{i}]: {message}")


def check_rule(rule: Part) -> None:
    """The match criteria of a webhook or policy."""
    for field, what in (("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")):
        if rule.need(field) and len(rule.items(field)) > 1 and "*" in rule.items(field):
            rule.invalid(field, f"if '*' is present, must not specify other {what}")
        if field == "operations":
            for at, operation in rule.values(field):
                rule.e.enum(at, operation, OPERATIONS)
    for at, version in rule.values("apiVersions"):
        rule.e.need(at, version)
    _check_resources(rule)
    rule.choice("scope", SCOPES)


def _check_resources(rule: Part) -> None:
    rule.need("resources")
    whole: set[str] = set()
    every: set[str] = set()
    for at, resource in rule.values("resources"):
        if not rule.e.need(at, resource):
            continue
        name, _, sub = resource.partition("/")
        if name in whole and sub:
            rule.e.invalid(at, resource, f"if '{name}/*' is present, must not specify {resource}")
        if sub in every and sub and name != "*":
            rule.e.invalid(at, resource, f"if '*/{sub}' is present, must not specify {resource}")
        if sub == "*":
            whole.add(name)
        if name == "*" and sub:
            every.add(sub)
    resources = rule.items("resources")
    if len(resources) > 1 and "*/*" in resources:
        rule.invalid("resources", "if '*/*' is present, must not specify other resources")
    if "*" in resources and any("/" not in r and r != "*" for r in resources):
        rule.invalid("resources", "if '*' is present, must not specify other resources without subresources")


def check_conditions(owner: Part, known: dict[str, Type]) -> None:
    """matchConditions; `known`: the environment of their expressions."""
    owner.limit("matchConditions", MOST_CONDITIONS)
    seen: set[str] = set()
    for condition in owner.parts("matchConditions"):
        condition.expression("expression", known, "bool")
        if condition.named("name", names.qualified_name):
            condition.unique("name", seen)

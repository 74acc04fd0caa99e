"""The JobSpec, which a Job has at `spec` and a CronJob at `spec.jobTemplate.spec`: its defaults and its rules in stock's order."""


from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.kinds.batch import job_policies
from kapi.registry.kinds.core.pods import pod_spec
from kapi.registry.kinds.core.pods.pod_defaults import set_absent, set_empty
from kapi.registry.validation import internal
from kapi.registry.validation.part import Part

INDEXED = "Indexed"
_NUMBERS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex",
            "maxFailedIndexes")
_UNLIMITED = 2**31 - 1
_MANY, _FEW = 100_000, 10_000
_FEW_TEXT = f"must be less than or equal to {_FEW} when completions are above {_MANY} and used with backoff limit per index"


def default(spec: Object) -> None:
    """What a Job (but no job template) is filled in with."""
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    set_absent(
        spec, parallelism=1, backoffLimit=6 if "backoffLimitPerIndex" not in spec else _UNLIMITED, completionMode="NonIndexed",
        suspend=False, manualSelector=False, podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
    )  # fmt: skip
    default_conditions(spec)


def default_conditions(spec: Object) -> None:
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            set_empty(condition, status="True")


def check(spec: Part) -> None:
    """Everything but the selector."""
    for name in _NUMBERS:
        spec.non_negative(name)
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        spec.required("backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if "managedBy" in spec:
        spec.named("managedBy", names.domain_prefixed_path)
        spec.longest("managedBy", 63)
    _mode(spec)
    if "podFailurePolicy" in spec:
        job_policies.failure(spec)
    if "successPolicy" in spec:
        if spec.get("completionMode") != INDEXED:
            shown = internal.to_internal("SuccessPolicy", spec.get("successPolicy"))
            spec.e.invalid(spec.path("successPolicy"), shown, "requires indexed completion mode")
        else:
            job_policies.success(spec)
    spec.choice("podReplacementPolicy", ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed"))
    pod_spec.template(spec.part("template"))
    _restart_policy(spec.part("template").part("spec"), "podFailurePolicy" in spec)


def _restart_policy(pod: Part, has_failure_policy: bool) -> None:
    policy, field = pod.text("restartPolicy"), "restartPolicy"
    if policy in ("", "Always"):
        pod.required(field, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        pod.unsupported(field, ("OnFailure", "Never"), sort=False)
    elif policy != "Never" and has_failure_policy:
        pod.invalid(field, 'only "Never" is supported when podFailurePolicy is specified')


def _mode(spec: Part) -> None:
    mode = spec.get("completionMode")
    spec.choice("completionMode", ("NonIndexed", INDEXED), sort=False)
    if mode == INDEXED:
        _indexed(spec)
    if mode not in (None, "NonIndexed"):
        return
    for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
        if name in spec:
            spec.invalid(name, "requires indexed completion mode")


def _indexed(spec: Part) -> None:
    completions, failed = spec.get("completions"), spec.get("maxFailedIndexes")
    if completions is None:
        spec.required("completions", f"when completion mode is {INDEXED}")
    spec.at_most("parallelism", _MANY, f"must be less than or equal to {_MANY} when completion mode is {INDEXED}")
    if failed is not None and completions is not None and failed > completions:
        spec.invalid("maxFailedIndexes", "must be less than or equal to completions")
    spec.at_most("maxFailedIndexes", _MANY)
    if (completions or 0) > _MANY and "backoffLimitPerIndex" in spec:
        if failed is None:
            spec.required("maxFailedIndexes", f"must be specified when completions is above {_MANY}")
        for name in ("parallelism", "maxFailedIndexes"):
            spec.at_most(name, _FEW, _FEW_TEXT)

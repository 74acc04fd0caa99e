"""The JobSpec, which a Job has at `spec` and a CronJob at `spec.jobTemplate.spec`: its defaults and its rules in stock's order."""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds import internal, job_policies, pod_spec
from kapi.registry.kinds.pod_defaults import set_absent, set_empty
from kapi.registry.kinds.rules import Errors, one_of, present

Object = dict[str, Any]

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


def check(e: Errors, at: str, spec: Object) -> None:
    """Everything but the selector."""
    for name in _NUMBERS:
        e.non_negative(f"{at}.{name}", spec.get(name))
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        e.required(f"{at}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if "managedBy" in spec:
        e.named(f"{at}.managedBy", spec["managedBy"], names.domain_prefixed_path)
        e.longest(f"{at}.managedBy", spec["managedBy"], 63)
    _mode(e, at, spec)
    if "podFailurePolicy" in spec:
        job_policies.failure(e, f"{at}.podFailurePolicy", spec["podFailurePolicy"], spec)
    if "successPolicy" in spec:
        if spec.get("completionMode") != INDEXED:
            shown = internal.to_internal("SuccessPolicy", spec["successPolicy"])
            e.invalid(f"{at}.successPolicy", shown, "requires indexed completion mode")
        else:
            job_policies.success(e, f"{at}.successPolicy", spec["successPolicy"], spec)
    replacements = ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed")
    present(e, at, spec, {"podReplacementPolicy": one_of(*replacements)})
    pod_spec.template(e, f"{at}.template", spec.get("template") or {})
    _restart_policy(e, f"{at}.template.spec.restartPolicy", spec)


def _restart_policy(e: Errors, field: str, spec: Object) -> None:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") or ""
    if policy in ("", "Always"):
        e.required(field, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        e.unsupported(field, policy, ("OnFailure", "Never"), sort=False)
    elif policy != "Never" and "podFailurePolicy" in spec:
        e.invalid(field, policy, 'only "Never" is supported when podFailurePolicy is specified')


def _mode(e: Errors, at: str, spec: Object) -> None:
    mode = spec.get("completionMode")
    present(e, at, spec, {"completionMode": one_of("NonIndexed", INDEXED, sort=False)})
    if mode == INDEXED:
        _indexed(e, at, spec)
    if mode not in (None, "NonIndexed"):
        return
    for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
        if name in spec:
            e.invalid(f"{at}.{name}", spec[name], "requires indexed completion mode")


def _indexed(e: Errors, at: str, spec: Object) -> None:
    completions, parallelism, failed = spec.get("completions"), spec.get("parallelism"), spec.get("maxFailedIndexes")
    if completions is None:
        e.required(f"{at}.completions", f"when completion mode is {INDEXED}")
    if parallelism is not None and parallelism > _MANY:
        e.invalid(f"{at}.parallelism", parallelism, f"must be less than or equal to {_MANY} when completion mode is {INDEXED}")
    if failed is not None and completions is not None and failed > completions:
        e.invalid(f"{at}.maxFailedIndexes", failed, "must be less than or equal to completions")
    if failed is not None and failed > _MANY:
        e.invalid(f"{at}.maxFailedIndexes", failed, f"must be less than or equal to {_MANY}")
    if (completions or 0) > _MANY and "backoffLimitPerIndex" in spec:
        if failed is None:
            e.required(f"{at}.maxFailedIndexes", f"must be specified when completions is above {_MANY}")
        for name in ("parallelism", "maxFailedIndexes"):
            if (spec.get(name) or 0) > _FEW:
                e.invalid(f"{at}.{name}", spec[name], _FEW_TEXT)

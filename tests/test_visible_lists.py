"""The lists that say what runs (controllers, scheduler profile, admission chain, handlers) are whole: no row lost, none doubled."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from kapi import admission, controllers
from kapi.admission import chain
from kapi.admission.plugin import Plugin
from kapi.api.app import HANDLERS
from kapi.cli import checks
from kapi.cli.commands import COMMANDS
from kapi.client import Controller
from kapi.registry import catalogue
from kapi.scheduler import plugins, profile
from kapi.scheduler.framework import SchedulingPlugin

# kube-apiserver's default plugins in its order (pkg/kubeapiserver/options/plugins.go), those kapi has, with NodeRestriction
# and with PrivilegeEscalation, which stock has in its storage
ADMISSION = (
    "NamespaceLifecycle", "LimitRanger", "ServiceAccount", "NodeRestriction", "TaintNodesByCondition", "PodSecurity", "Priority",
    "DefaultTolerationSeconds", "DefaultStorageClass", "StorageObjectInUseProtection", "PersistentVolumeClaimResize", "RuntimeClass",
    "CertificateApproval", "CertificateSigning", "CertificateSubjectRestriction", "DefaultIngressClass", "PodTopologyLabels",
    "MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "PrivilegeEscalation", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook",
    "ResourceQuota",
)  # fmt: skip
# the scores' weights of kube-scheduler's default profile (pkg/scheduler/apis/config/v1/default_plugins.go)
WEIGHTS = {
    "TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2, "NodeResourcesFit": 1,
    "NodeResourcesBalancedAllocation": 1, "ImageLocality": 1,
}  # fmt: skip


def check(listed: list[type[Any]], package: ModuleType, base: type[Any]) -> None:
    """Nothing stands twice in a list; what the package's modules define below `base` is in it, but for classes others are derived from."""
    assert len(listed) == len(set(listed))
    names = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    modules = [package, *map(importlib.import_module, names)]
    found = {
        kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind.__module__ == module.__name__
    }  # fmt: skip
    leaves = {kind for kind in found if not any(kind in other.__mro__[1:] for other in found)}
    assert leaves - set(listed) == set()
    assert set(listed) - found == set()


def test_every_controller_runs_once() -> None:
    check(list(controllers.CONTROLLERS), controllers, Controller)


def test_every_scheduler_plugin_is_in_the_profile_once() -> None:
    handle: Any = Anything()
    listed = [type(weighted.plugin) for weighted in profile.default_plugins(handle)]
    check(listed, plugins, SchedulingPlugin)
    assert {w.plugin.name: w.weight for w in profile.default_plugins(handle) if w.weight} == WEIGHTS


def test_the_admission_chain_is_stocks_in_its_order() -> None:
    anything: Any = Anything()
    listed = chain.plugins(anything, anything, anything, anything, anything)
    assert tuple(plugin.name or type(plugin).__name__ for plugin in listed) == ADMISSION
    check([type(plugin) for plugin in listed], admission, Plugin)


def served() -> set[tuple[str, str]]:
    """(subresource, verb) of what the kinds there are can be asked."""
    return {
        (subresource, verb)
        for kind in catalogue.standard({"api/all": True})
        for subresource, verbs in {"": kind.verbs, **kind.subresources}.items()
        for verb in verbs
    }


def test_every_verb_of_every_kind_has_a_handler_and_every_handler_a_kind() -> None:
    assert served() - set(HANDLERS) == set()
    assert set(HANDLERS) - served() == {("proxy", "")}, "of methods without a verb, only OPTIONS through a proxy has an answer"


def test_every_command_is_listed_once() -> None:
    names = [command.name for command in COMMANDS]
    assert len(names) == len(set(names))


def test_every_check_of_the_doctor_is_listed_once() -> None:
    """What takes a Scope and gives a Finding is a check."""
    names = [f"{checks.__name__}.{module.name}" for module in pkgutil.iter_modules(checks.__path__)]
    found = {
        function for module in map(importlib.import_module, names) for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
        and inspect.get_annotations(function, eval_str=True) == {"scope": checks.Scope, "return": checks.Finding}
    }  # fmt: skip
    listed = [check.look for check in checks.CHECKS]
    assert len(listed) == len(set(listed)) == len({check.name for check in checks.CHECKS})
    assert set(listed) == found


class Anything:
    """Has every attribute: plugins are made, never asked."""

    def __getattr__(self, name: str) -> Any:
        return Anything()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return Anything()

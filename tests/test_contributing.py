"""The worked examples of CONTRIBUTING.md do what is said of them: each is run where it would stand, with its row in its list."""

import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kapi import controllers
from kapi.admission import chain
from kapi.api import app as application
from kapi.api import subresources
from kapi.api.app import App
from kapi.client import Client
from kapi.objects import errors, meta
from kapi.objects.resource import CONFIG_MAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Resource
from kapi.registry import catalogue
from kapi.registry.kinds import STRATEGIES
from kapi.registry.kinds.core.config import ConfigMapStrategy
from kapi.scheduler.profile import default_plugins
from kapi.scheduler.search import Weighted
from kubelet.environment import MissingReference
from tests import markdown
from tests.api.asking import MAPS, ask
from tests.controllers.story import Cluster
from tests.controllers.story import story as controller_story
from tests.house import ROOT
from tests.registry.kinds.making import change_faults, faults
from tests.scheduler.making import node, pod
from tests.scheduler.story import Story
from tests.scheduler.story import story as scheduler_story

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
EXAMPLES = {block.under: block.text for block in markdown.blocks(CONTRIBUTING) if block.language == "python"}
MIGRATIONS = Resource("storagemigration.k8s.io", "v1beta1", "storageversionmigrations", "StorageVersionMigration", False)


@cache
def example(heading: str) -> ModuleType:
    """The code below a heading, as a module."""
    made = ModuleType(heading.replace(" ", "_"))
    exec(compile(EXAMPLES[heading], f"CONTRIBUTING.md, {heading}", "exec"), made.__dict__)
    return made


def row(heading: str, **names: Any) -> Any:
    """The line for the list, as a tuple or dict of one: "In `FILE`: `LINE`", with what the file knows beside the example as `names`."""
    found = re.search(r"^In `([^`]+)`: `([^`]+)`$", markdown.section(CONTRIBUTING, heading), re.MULTILINE)
    assert found is not None
    assert (ROOT / found[1]).is_file()
    braces = "{}" if re.match(r"\(.*\):", found[2]) else "()"
    return eval(braces[0] + found[2] + braces[1], {**vars(example(heading)), **names})


@pytest.mark.parametrize("heading", EXAMPLES)
def test_an_example_is_short(heading: str) -> None:
    assert len(EXAMPLES[heading].strip().splitlines()) <= 20


def test_each_thing_has_an_example() -> None:
    assert [*EXAMPLES] == [
        "A kind", "A rule of a field", "A controller", "An admission plugin", "A scheduler plugin", "A volume type", "A subresource",
    ]  # fmt: skip


@pytest.fixture
def strategies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind's row stands in the list before the server starts."""
    for key, strategy in row("A kind").items():
        monkeypatch.setitem(STRATEGIES, key, strategy)


@pytest.fixture
def chained(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = chain.plugins
    monkeypatch.setattr(chain, "plugins", lambda *given: (*whole(*given), *row("An admission plugin")))


@pytest.mark.usefixtures("strategies")
def test_a_kind() -> None:
    kind = catalogue.standard({"api/all": True}).get(MIGRATIONS.group, MIGRATIONS.version, MIGRATIONS.plural)
    assert kind is not None
    good = {"metadata": {"name": "m"}, "spec": {"resource": {"group": "apps", "resource": "deployments"}}}
    empty = {"metadata": {"name": "m"}, "spec": {}}
    assert faults(kind.strategy, empty) == ["spec.resource.resource: Required value: says what is migrated"]
    changed = change_faults(kind.strategy, good, lambda obj: obj["spec"]["resource"].update(resource="pods"))
    assert [text for text in changed if text.startswith("spec: Invalid value") and text.endswith("field is immutable")]
    assert kind.strategy.row(good, 0)[:2] == ["m", "deployments"]


async def test_a_rule_of_a_field(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ConfigMapStrategy.check

    def check(self: ConfigMapStrategy, new: Any, old: Any) -> None:
        before(self, new, old)
        example("A rule of a field").check_owner(new)

    monkeypatch.setattr(ConfigMapStrategy, "check", check)
    with pytest.raises(errors.Invalid) as refused:
        await client.create(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"owner": "Not a label"}}, namespace="default")
    assert [c["field"] for c in (refused.value.details or {})["causes"]] == ["data.owner", "data.team"]
    await client.create(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"owner": "me", "team": "us"}}, namespace="default")


@controller_story
async def test_a_controller(cluster: Cluster) -> None:
    cluster.api.create(NAMESPACES, {"metadata": {"name": "full"}})
    await cluster.run(*controllers.CONTROLLERS, *row("A controller"))
    for name in ("a", "b"):
        cluster.api.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "full"}})
    await cluster.advance()
    found = cluster.api.get(NAMESPACES, "full")
    assert found is not None
    assert meta.annotations(found)["example.dev/maps"] == "3"  # with the one of the cluster's authority


@pytest.mark.usefixtures("chained")
async def test_an_admission_plugin(client: Client) -> None:
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, namespace="default")
    spec = {"containers": [{"name": "c", "image": "web:latest"}]}
    with pytest.raises(errors.Forbidden, match='pods "p" is forbidden: container c has no version'):
        await client.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, namespace="default")
    await client.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}, namespace="default")


@scheduler_story
async def test_a_scheduler_plugin(told: Story) -> None:
    await told.nodes(node("n1", labels={"example.dev/quiet": ""}))
    await told.start(plugins=lambda handle: [*default_plugins(handle), *row("A scheduler plugin", Weighted=Weighted)])
    await told.pods(pod("loud"), pod("silent", labels={"example.dev/quiet": ""}))
    assert (told.where("loud"), told.where("silent")) == ("", "n1")
    assert "node(s) wanted to be quiet" in told.condition("loud")["message"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_volume_type(tmp_path: Path) -> None:
    set_up = example("A volume type").set_up
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "there")], check=True)
    for _ in range(2):
        set_up(tmp_path / "volume", {"repository": str(tmp_path / "there")})
    assert (tmp_path / "volume" / ".git").is_dir()
    with pytest.raises(MissingReference, match="git clone failed: fatal"):
        set_up(tmp_path / "other", {"repository": str(tmp_path / "nowhere")})


async def test_a_subresource(app: App, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subresources, "get_size", example("A subresource").get_size, raising=False)
    for key, handler in row("A subresource", _plain=application._plain, subresources=subresources).items():
        monkeypatch.setitem(application.HANDLERS, key, handler)
    kind = app.catalogue.get("", "v1", "configmaps")
    assert kind is not None
    app.catalogue.add(replace(kind, subresources={"size": ("get",)}))
    await client.create(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"k": "v" * 1000}}, namespace="default")
    answer = await ask(client, "GET", f"{MAPS}/a/size")
    assert answer.code == 200
    assert 1000 < int(answer.json["message"]) < 2000


def test_the_steps_to_a_new_version_name_files_that_are_there() -> None:
    steps = markdown.section(CONTRIBUTING, "To Kubernetes v1.37")
    named = re.findall(r"`((?:kapi|kubelet|openapi|tests)/[^`]+|\w+\.toml)`", steps)
    assert len(named) > 10
    assert [file for file in named if not (ROOT / file).is_file()] == []


def test_every_file_that_names_the_version_is_among_the_steps() -> None:
    """Where source (not its comments) says 1.36, a new version has to change it."""
    steps = markdown.section(CONTRIBUTING, "To Kubernetes v1.37")
    files = [p for top in ("kapi", "kubelet", "openapi") for p in (ROOT / top).rglob("*.py")]
    naming = {str(p.relative_to(ROOT)) for p in files if any("1.36" in line and '"' in line for line in code_lines(p.read_text()))}
    assert {file for file in naming if file not in steps} == set()


def code_lines(text: str) -> list[str]:
    """Lines that are neither comment nor docstring."""
    text = re.sub(r'""".*?"""', "", text, flags=re.DOTALL)
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]

"""Image names, pull policies, logins, back-off."""

import base64
import json
from typing import Any

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.objects.resource import Resource
from kubelet import pulling
from kubelet.observed_state import Failure
from kubelet.pulling import NotPulled, Puller
from kubelet.runtime import Config, Image, RuntimeFailure
from kubelet.simulated import SimulatedRuntime
from tests.kubelet.build import one, pod


class Registry(SimulatedRuntime):
    """Has what it was given, pulls what does not say `none`."""

    def __init__(self, *present: str) -> None:
        super().__init__()
        self.present = set(present)
        self.logins: list[Config | None] = []

    async def image(self, name: str) -> Image | None:
        return Image("sha256:1", (name,), (), 7) if name in self.present else None

    async def pull(self, name: str, auth: Config | None, sandbox_config: Config) -> str:
        self.logins.append(auth)
        if "none" in name:
            raise RuntimeFailure("NotFound", "no such image")
        self.present.add(name)
        return name


async def nothing(resource: Resource, namespace: str, name: str) -> Object | None:
    return None


async def ensure(puller: Puller, container: Object, **spec: Any) -> tuple[Failure | None, list[str]]:
    """(why not, reasons of the events)."""
    said: list[str] = []

    def record(type: str, reason: str, message: str) -> None:
        said.append(f"{reason}: {message}")

    try:
        await puller.ensure(pod(container, **spec), container, {}, nothing, record)
    except NotPulled as error:
        return error.failure, said
    return None, said


@pytest.mark.parametrize(("image", "wanted"), [("busybox", "busybox:latest"), ("a.b:5/c", "a.b:5/c:latest"), ("x@sha256:1", "x@sha256:1")])
def test_names(image: str, wanted: str) -> None:
    assert pulling.normalized(image) == wanted


@pytest.mark.parametrize("image", ["", "Busybox", "a b", ":1"])
def test_bad_names(image: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        pulling.normalized(image)


async def test_policies() -> None:
    here, away = one(image="here:1"), one(image="away:1")
    assert await ensure(Puller(Registry("here:1")), here) == (
        None, ['Pulled: Container image "here:1" already present on machine and can be accessed by the pod'],
    )  # fmt: skip
    failure, said = await ensure(Puller(Registry()), away)
    assert failure is None
    assert said[0] == 'Pulling: Pulling image "away:1"'
    assert said[1].endswith("Image size: 7 bytes.")
    assert len((await ensure(Puller(Registry("here:1")), {**here, "imagePullPolicy": "Always"}))[1]) == 2
    failure, said = await ensure(Puller(Registry()), {**away, "imagePullPolicy": "Never"})
    text = 'Container image "away:1" is not present with pull policy of Never'
    assert (failure, said) == (Failure("ErrImageNeverPull", text), [f"ErrImageNeverPull: {text}"])


async def test_a_failed_pull_backs_off() -> None:
    try:
        time.set_clock(lambda: 1000.0)
        puller, container = Puller(Registry()), one(image="none:1")
        failure, said = await ensure(puller, container)
        assert failure == Failure("ErrImagePull", "rpc error: code = NotFound desc = no such image")
        assert [s.partition(":")[0] for s in said] == ["Pulling", "Failed", "Failed"]
        failure, said = await ensure(puller, container)
        assert failure is not None
        assert failure.reason == "ImagePullBackOff"
        assert said == ['BackOff: Back-off pulling image "none:1"', "Failed: Error: ImagePullBackOff"]
        time.set_clock(lambda: 1011.0)
        failure, _ = await ensure(puller, container)
        assert failure is not None
        assert failure.reason == "ErrImagePull"
    finally:
        time.set_clock(None)


def test_logins() -> None:
    auth = base64.b64encode(b"me:secret").decode()
    held = json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": auth}, "reg.example.com": {"username": "q", "password": "p"}}})
    secret = {"kind": "Secret", "data": {".dockerconfigjson": base64.b64encode(held.encode()).decode()}}
    assert pulling.credentials(secret, "busybox:1") == [{"username": "me", "password": "secret"}]
    assert pulling.credentials(secret, "reg.example.com/x/y") == [{"username": "q", "password": "p"}]
    assert pulling.credentials(secret, "other.example.com/x/y") == []


@pytest.mark.parametrize(
    ("server", "image", "wanted"),
    [
        ("https://index.docker.io/v1/", "busybox", True),
        ("reg.example.com/team", "reg.example.com/team/app:1", True),
        ("reg.example.com/team", "reg.example.com/teammate/app:1", False),
        ("*.example.com", "a.example.com/x", True),
        ("*.example.com", "a.b.example.com/x", False),
        ("127.0.0.1:5000", "127.0.0.1:5000/x", True),
        ("127.0.0.1:5000", "127.0.0.1:5001/x", False),
    ],
)
def test_which_images_a_login_is_for(server: str, image: str, wanted: bool) -> None:
    assert pulling.logs_into(server, image) is wanted

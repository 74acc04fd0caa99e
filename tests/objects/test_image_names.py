"""Names of images in full."""

import pytest

from kapi.objects.image_names import full_name

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("web", "docker.io/library/web:latest"), ("web:1.2", "docker.io/library/web:1.2"), ("team/web", "docker.io/team/web:latest"),
        ("docker.io/web", "docker.io/library/web:latest"), ("index.docker.io/team/web:1", "docker.io/team/web:1"),
        ("localhost/kapi/busybox:1", "localhost/kapi/busybox:1"), ("example.com/a/b/c", "example.com/a/b/c:latest"),
        ("host:5000/web", "host:5000/web:latest"), (f"web@{DIGEST}", f"docker.io/library/web@{DIGEST}"),
        (f"example.com/web:1@{DIGEST}", f"example.com/web@{DIGEST}"), ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest"),
    ],
)  # fmt: skip
def test_full(given: str, full: str) -> None:
    assert full_name(given) == full
    assert full_name(full) == full


BAD = ["", "Web", "a//b", "/web", "web:", "web@sha256:1", "-web", "a b", "web:" + "t" * 129, "e.com/" + "a" * 300, "a\nb"]


@pytest.mark.parametrize("given", BAD)
def test_no_name(given: str) -> None:
    with pytest.raises(ValueError, match="must be the name of an image"):
        full_name(given)

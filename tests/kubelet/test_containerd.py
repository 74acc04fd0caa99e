"""The own containerd's configuration, and what its network leaves."""

import io
import json
import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path

from kubelet import containerd, images

SETTINGS = containerd.Settings(Path("/data"), pod_cidr="10.1.0.0/24", bridge="b0")
NAT = """table ip nat {
	chain CNI-HOSTPORT-SETMARK {
		counter packets 1 bytes 60 meta mark set mark or 0x2000
	}

	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		counter packets 6576 bytes 394507 jump CNI-HOSTPORT-MASQ
	}
}
"""


def test_the_configuration_is_toml_and_all_below_one_directory() -> None:
    config = tomllib.loads(containerd.configuration(SETTINGS))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert (config["root"], config["state"], config["grpc"]["address"]) == ("/data/root", "/data/state", "/data/containerd.sock")
    assert cri["sandbox_image"] == images.PAUSE
    assert cri["restrict_oom_score_adj"] is containerd.lacks_sys_resource()


def test_a_directory_with_quotes_and_backslashes() -> None:
    config = tomllib.loads(containerd.configuration(replace(SETTINGS, root=Path('/a "b"\\c'))))
    assert (config["root"], config["ttrpc"]["address"]) == ('/a "b"\\c/root', '/a "b"\\c/containerd.sock.ttrpc')


def test_the_network_has_the_nodes_range() -> None:
    bridge, portmap = json.loads(containerd.network(SETTINGS))["plugins"]
    assert (bridge["bridge"], bridge["ipam"]["ranges"]) == ("b0", [[{"subnet": "10.1.0.0/24"}]])
    assert portmap["type"] == "portmap"
    assert "ip saddr 10.1.0.0/24 ip daddr != { 10.1.0.0/24, 224.0.0.0/4 } masquerade" in containerd.masquerade(SETTINGS)
    assert containerd.masquerade(SETTINGS).startswith("table ip b0-pods\n")


def test_only_rules_of_others_are_foreign() -> None:
    assert containerd.foreign_rules(NAT) == []
    added = NAT.replace("\t\tcounter packets 6576", "\t\tip saddr 1.2.3.4 masquerade\n\t\tcounter packets 6576")
    assert containerd.foreign_rules(added) == ["ip saddr 1.2.3.4 masquerade"]


def test_an_image_is_an_oci_archive() -> None:
    archive = images.build("localhost/x:1", {"bin/x": b"hello"}, links={"bin/y": "/bin/x"}, config={"Cmd": ["x"]})
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        content = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    (top,) = json.loads(content["index.json"])["manifests"]
    assert top["annotations"]["io.containerd.image.name"] == "localhost/x:1"
    manifest = json.loads(content["blobs/sha256/" + top["digest"].partition(":")[2]])
    config = json.loads(content["blobs/sha256/" + manifest["config"]["digest"].partition(":")[2]])
    assert (config["config"]["Cmd"], config["architecture"]) == (["x"], images.architecture())
    assert archive == images.build("localhost/x:1", {"bin/x": b"hello"}, links={"bin/y": "/bin/x"}, config={"Cmd": ["x"]})

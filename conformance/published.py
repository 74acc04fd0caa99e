"""`python -m conformance.published --server URL …`: what a server publishes of its API, compared with what another one did.

`--openapi2 FILE`, `--openapi3 FILE` and `--discovery FOLDER` are recorded: the document of /openapi/v2; a map from "apis/apps/v1" and the
like to the documents of /openapi/v3; the documents of /api, /apis and below by name (apis__apps__v1.json). A file may be packed with gzip.
Prints every difference with its path, and ends with 1 when one of them is not EXPLAINED. Descriptions are not compared.
"""

import argparse
import gzip
import re
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

ABSENT = "(absent)"
EXPLAINED = {
    r"golden\.example\.org|org\.example\.golden|openapi2/parameters/|: 'org\.example": "a definition of the recorded server's own",
    r"/info/(version|title)": "the recorded version was cut to its minor one",
    r"serverAddressByClientCIDRs": "the address of the server",
}
"""Differences there may be, as patterns of a line, and why."""


class Difference(NamedTuple):
    """Where two documents differ, and what each has there."""

    path: str
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        return f"{self.path}: {_short(self.ours)} instead of {_short(self.theirs)}"

    @property
    def explained(self) -> str:
        """Why this may be; "" for a difference that must not."""
        return next((why for pattern, why in EXPLAINED.items() if re.search(pattern, str(self))), "")


def _short(value: Any) -> str:
    text = value if value is ABSENT else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return text if len(text) < 300 else text[:300] + "…"


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[Difference]:
    """Every place where they differ. Lists of names, parameters and media types are compared in their order."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            if key != "description" or not isinstance(ours.get(key, ""), str):
                yield from differences(ours.get(key, ABSENT), theirs.get(key, ABSENT), f"{path}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{path}[{index}]")
    elif ours != theirs:
        yield Difference(path, ours, theirs)


def read(path: Path) -> Any:
    """A recorded document."""
    raw = path.read_bytes()
    return orjson.loads(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)


Get = Callable[[str, str], Any]
"""A document of the server, by path and Accept header; ABSENT when there is none."""
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def compared(get: Get, openapi2: Path | None, openapi3: Path | None, discovery: Path | None) -> Iterator[Difference]:
    """All differences, of the documents that were recorded."""
    if openapi2:
        yield from differences(get("/openapi/v2", "application/json"), read(openapi2), "openapi2")
    if openapi3:
        theirs = read(openapi3)
        served = get("/openapi/v3", "application/json")["paths"]
        for name in sorted({*theirs, *served}):
            ours = get(f"/openapi/v3/{name}", "application/json") if name in served else ABSENT
            yield from differences(ours, theirs.get(name, ABSENT), f"openapi3/{name}")
    for file in sorted(discovery.glob("*.json")) if discovery else ():
        if file.stem.startswith("aggregated"):
            ours = {item["metadata"].get("name", ""): item for item in get("/apis", AGGREGATED)["items"]}
            theirs = {item["metadata"].get("name", ""): item for item in read(file)["items"]}
        else:
            ours, theirs = get("/" + file.stem.replace("__", "/"), "application/json"), read(file)
        yield from differences(ours, theirs, f"discovery/{file.stem}")


def fetcher(server: str, token: str, authority: str) -> Get:
    """`get` of a server over HTTPS."""
    context = ssl.create_default_context(cafile=authority)

    def get(path: str, accept: str) -> Any:
        request = urllib.request.Request(server + path, headers={"Accept": accept, "Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, context=context) as answer:
                return orjson.loads(answer.read())
        except urllib.error.HTTPError as refused:
            if refused.code != 404:
                raise
            return ABSENT

    return get


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.published", description=__doc__)
    for name in ("server", "token", "authority"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("openapi2", "openapi3", "discovery"):
        parser.add_argument(f"--{name}", type=Path)
    args = parser.parse_args()
    wrong = 0
    for found in compared(fetcher(args.server, args.token, args.authority), args.openapi2, args.openapi3, args.discovery):
        wrong += not found.explained
        print(f"{found}{' — ' + found.explained if found.explained else ''}")
    print(f"{wrong} unexplained differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

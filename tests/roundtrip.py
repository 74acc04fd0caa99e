"""Whether bodies in protobuf and in JSON are read as the same objects, and written as the same bytes: `python -m tests.roundtrip FOLDER`.

The folder holds GROUP.VERSION.KIND.json and .pb of the same object ("core" for the group without a name), as upstream's
staging/src/k8s.io/api/testdata/HEAD does. Kinds that are not known here are counted, nothing more.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from kapi.objects.errors import BadRequest
from kapi.objects.meta import Object
from kapi.schema import builtin, decode, protobuf_encoding


def name(api_version: str, kind: str) -> str:
    """The definition of a kind."""
    group, _, version = api_version.rpartition("/")
    return builtin.named(group, version, kind)


def objects(folder: Path) -> Iterator[tuple[str, Object | str, Object | str]]:
    """(what, read from protobuf, read from JSON) of each kind that is known; a text where it was refused."""
    for path in sorted(folder.glob("*.json")):
        raw = path.read_bytes()
        head = orjson.loads(raw)
        if name(head.get("apiVersion", ""), head.get("kind", "")):
            kind, packed = (head["apiVersion"], head["kind"]), path.with_suffix(".pb").read_bytes()
            yield path.stem, read(packed, "protobuf", *kind), read(raw, "json", *kind)


def read(body: bytes, form: str, api_version: str, kind: str) -> Object | str:
    try:
        schema = builtin.schema(name(api_version, kind))
        return decode.decode(body, form, schema, api_version=api_version, kind=kind, validation="Strict")[0]
    except BadRequest as why:
        return why.message


def differences(packed: Any, plain: Any, path: str = "") -> Iterator[str]:
    """Where two values differ, and how."""
    if isinstance(packed, dict) and isinstance(plain, dict):
        for key in [*packed, *(key for key in plain if key not in packed)]:
            yield from differences(packed.get(key), plain.get(key), f"{path}.{key}")
    elif isinstance(packed, list) and isinstance(plain, list) and len(packed) == len(plain):
        for at, pair in enumerate(zip(packed, plain, strict=True)):
            yield from differences(*pair, f"{path}[{at}]")
    elif packed != plain or (isinstance(plain, str) and not path):
        yield f"{path}: {str(packed)[:200]} in protobuf, {str(plain)[:200]} in JSON"


def unlike(folder: Path) -> Iterator[str]:
    """What is not written in protobuf as it came: read from protobuf, or from JSON."""
    for what, packed, plain in objects(folder):
        wanted = (folder / f"{what}.pb").read_bytes()
        for form, obj in (("protobuf", packed), ("JSON", plain)):
            if isinstance(obj, dict) and (written := protobuf_encoding.whole(obj)) != wanted:
                at = next(index for index in range(len(wanted) + 1) if written[:index] != wanted[:index])
                yield f"{what} read from {form}: {len(written)} bytes instead of {len(wanted)}, the first that differs is {at - 1}"


def main() -> int:
    folder = Path(sys.argv[1])
    found = [*objects(folder)]
    wrong = [(what, packed, plain) for what, packed, plain in found if packed != plain or isinstance(plain, str)]
    for what, packed, plain in wrong:
        print(what, *differences(packed, plain), sep="\n  ")
    others = [*unlike(folder)]
    print(*others, sep="\n")
    print(f"{len(found)} of {len([*folder.glob('*.json')])} kinds are known, {len(wrong)} differ, {len(others)} are written otherwise")
    return bool(wrong or others)


if __name__ == "__main__":
    sys.exit(main())

"""Objects by chance: values made from a type's schema, and valid objects with something in them changed.

Everything comes from one `Random`, so that a seed is all it takes to see a failure again.
"""

from copy import deepcopy
from random import Random
from typing import Any

from kapi.objects.meta import Object
from kapi.schema.schema import Schema

WORDS = (
    "", "a", "A", "a.b", "a/b", "a b", "-", "0", "1", "x" * 254, "é", "\x00", "$(X)", "10.0.0.1", "fd00::1", "10.0.0.0/8", "10.0.0.300",
    "80", "TCP", "Always", "Never", "None", "*", "100m", "1Gi", "-1", "25%", "1e3", "1h", "2020-01-01T00:00:00Z",
    "* * * * *", "=", "!a", "In", "Exists",
    "https://a.b/c", "a=b", "..", "/", "{}", "kubernetes.io/x", "RuntimeDefault", "Delete", "v1", "apps/v1", "Pod", "default",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 80, 443, 65535, 65536, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, 2**63, 10**30, 0.5, -0.0, 1e300)
QUANTITIES = ("0", "1", "-1", "100m", "1Gi", "1.5", "1e3", "1E", "999999999999999999999", "1n", "x", "", 3, 0.1)
ODD: tuple[Any, ...] = (None, True, False, 0, -1, 1.5, "", "x", [], {}, [None], {"": None}, [[]], {"a": {"a": {"a": []}}})


class Chance:
    """Values by chance."""

    def __init__(self, seed: object) -> None:
        self.random = Random(repr(seed))

    def value(self, schema: Schema, depth: int = 0) -> Any:
        """A value that mostly has the schema's type."""
        random = self.random
        if random.random() < 0.01:
            return deepcopy(random.choice(ODD))
        match schema.type:
            case "object":
                return self._fields(schema, depth)
            case "map":
                assert schema.item is not None
                return {random.choice(WORDS): self.value(schema.item, depth + 1) for _ in range(random.randrange(3))}
            case "list":
                assert schema.item is not None
                return [self.value(schema.item, depth + 1) for _ in range(random.choice((0, 1, 1, 2)) if depth < 9 else 0)]
            case kind:
                return self._scalar(kind, schema)

    def _fields(self, schema: Schema, depth: int) -> Object:
        rare = 0.15 + 0.4 / (depth + 1)
        chosen = ((n, s) for n, s in schema.fields.items() if n in schema.required or (depth < 9 and self.random.random() < rare))
        return {name: self.value(node, depth + 1) for name, node in chosen}

    def _scalar(self, kind: str, schema: Schema) -> Any:
        random = self.random
        if schema.enum and random.random() < 0.8:
            return random.choice(schema.enum)
        match kind:
            case "int32" | "int64" | "number":
                return random.choice(NUMBERS)
            case "boolean":
                return random.random() < 0.5
            case "quantity":
                return random.choice(QUANTITIES)
            case "intstr":
                return random.choice((*NUMBERS[:10], *WORDS))
            case "bytes":
                return random.choice(("", "AAEC", "!", "AA", "AA=="))
            case "any":
                return deepcopy(random.choice(ODD))
            case "time" | "microtime":
                return random.choice(("2020-01-01T00:00:00Z", "2020-01-01T00:00:00.000001Z", None, "x"))
            case "duration":
                return random.choice(("1h", "1s", "-1s", "x", "0"))
        return random.choice(WORDS)

    def mutated(self, obj: Object, schema: Schema) -> Object:
        """A copy with one to three places changed: taken away, made by the schema, or something odd."""
        out = deepcopy(obj)
        for _ in range(self.random.choice((1, 1, 2, 3))):
            self._mutate(out, schema, 0)
        return out

    def _mutate(self, at: Any, schema: Schema | None, depth: int) -> None:
        random = self.random
        here = [*at.items()] if isinstance(at, dict) else [*enumerate(at)]
        here = [pair for pair in here if depth or pair[0] not in ("kind", "apiVersion")]
        deep = [(key, value) for key, value in here if isinstance(value, dict | list) and value]
        if deep and random.random() < 0.75:
            key, value = random.choice(deep)
            self._mutate(value, _under(schema, key), depth + 1)
            return
        if isinstance(at, dict) and schema is not None and schema.fields and (not here or random.random() < 0.4):
            key = random.choice([*schema.fields])
        elif here:
            key = random.choice(here)[0]
        else:
            return
        known = _under(schema, key)
        if isinstance(at, dict) and random.random() < 0.15:
            at.pop(key, None)
        else:
            at[key] = self.value(known) if known is not None and random.random() < 0.8 else deepcopy(random.choice(ODD))


def _under(schema: Schema | None, key: object) -> Schema | None:
    if schema is None:
        return None
    return schema.fields.get(str(key)) if schema.type == "object" else schema.item

"""Reads what Go knows of its structs out of an ELF executable: field order, pointers, `omitempty`, names of types.

The published swagger does not have them, yet they decide how stock encodes an object.
Go keeps them for reflection in every binary (layout: internal/abi/type.go, Go 1.18 to 1.26); here they are read from
kubectl, which carries all of k8s.io/api. Used by openapi.generate only.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

KINDS = [
    *("invalid", "bool", "int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64", "uintptr"),
    *("float32", "float64", "complex64", "complex128"),
    *("array", "chan", "func", "interface", "map", "pointer", "slice", "string", "struct", "unsafe"),
]
HEADER = 48  # bytes of abi.Type, which starts every type
UNCOMMON = {"struct": 80, "pointer": 56, "slice": 56, "func": 56, "array": 72, "chan": 64, "map": 112, "interface": 80}
"""Bytes of each kind's own type record, behind which a named type's package path lies (48 for plain kinds)."""


class Field(NamedTuple):
    """A struct field as encoding/json sees it: name "" for an embedded struct."""

    name: str
    options: tuple[str, ...]
    type: str
    """'*string', '[]k8s.io/api/core/v1.Container', 'map[string]string', 'k8s.io/api/core/v1.Protocol'."""
    number: int = 0
    """Its number in the protobuf encoding."""


class Types(NamedTuple):
    """Struct types by 'package/path.Name', and the underlying type of every other named type."""

    structs: dict[str, list[Field]]
    named: dict[str, str]


class Binary:
    """An open executable; addresses are virtual ones."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.sections = dict(self._sections())
        self.base = self.sections[".rodata"][0]

    def _sections(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        (table,) = struct.unpack_from("<Q", self.data, 0x28)
        size, count, names = struct.unpack_from("<HHH", self.data, 0x3A)
        heads = [struct.unpack_from("<IIQQQQ", self.data, table + i * size) for i in range(count)]
        for name, _, _, address, offset, length in heads:
            start = heads[names][4] + name
            text = self.data[start : self.data.index(b"\0", start)].decode()
            yield text, (address, offset, length)

    def at(self, address: int) -> int:
        """The file offset of an address."""
        for start, offset, length in self.sections.values():
            if start and start <= address < start + length:
                return address - start + offset
        raise ValueError(f"no section holds {address:#x}")

    def _text(self, at: int) -> tuple[str, int]:
        length = shift = 0
        while True:
            byte = self.data[at]
            at, length, shift = at + 1, length | (byte & 127) << shift, shift + 7
            if byte < 128:
                return self.data[at : at + length].decode(errors="replace"), at + length

    def name(self, at: int) -> tuple[str, str]:
        """An abi.Name: the text and the struct tag."""
        text, after = self._text(at + 1)
        return text, self._text(after)[0] if self.data[at] & 2 else ""

    def kind(self, address: int) -> tuple[int, int, str, str]:
        """(file offset, tflags, kind, name) of a type."""
        at = self.at(address)
        flags, kind = self.data[at + 20], KINDS[self.data[at + 23] & 31]
        (text,) = struct.unpack_from("<i", self.data, at + 40)
        name = self.name(self.at(self.base + text))[0]
        return at, flags, kind, name[1:] if flags & 2 else name

    def package(self, address: int) -> str:
        at, flags, kind, _ = self.kind(address)
        (path,) = struct.unpack_from("<i", self.data, at + UNCOMMON.get(kind, HEADER)) if flags & 1 else (0,)
        return self.name(self.at(self.base + path))[0] if path else ""

    def elements(self, address: int) -> tuple[int, ...]:
        """Types a pointer, slice or map is made of (key first)."""
        at, _, kind, _ = self.kind(address)
        return tuple(struct.unpack_from("<QQ" if kind == "map" else "<Q", self.data, at + HEADER))

    def spelled(self, address: int, through: bool = False) -> str:
        """A type as Field.type spells it; `through` looks behind a name."""
        _, flags, kind, name = self.kind(address)
        if flags & 4 and not through:
            package = self.package(address)
            return f"{package}.{name.rpartition('.')[2]}" if package else name
        if kind == "pointer":
            return "*" + self.spelled(self.elements(address)[0])
        if kind == "slice":
            return "[]" + self.spelled(self.elements(address)[0])
        if kind == "map":
            key, value = self.elements(address)
            return f"map[{self.spelled(key)}]{self.spelled(value)}"
        return kind

    def fields(self, address: int) -> Iterator[tuple[Field, int]]:
        """Fields of a struct that JSON sees, each with the address of its type."""
        start, count = struct.unpack_from("<QQ", self.data, self.at(address) + HEADER + 8)
        for i in range(count):
            name, kind, _ = struct.unpack_from("<QQQ", self.data, self.at(start) + 24 * i)
            text, tag = self.name(self.at(name))
            found = re.search(r'json:"([^"]*)"', tag)
            if text[:1].isupper() and not (found and found[1] == "-"):
                json, *options = found[1].split(",") if found else [""]
                wire = re.search(r'protobuf:"[^",]*,(\d+)', tag)
                yield Field(json, tuple(options), self.spelled(kind), int(wire[1]) if wire else 0), kind


def read(path: Path, wanted: re.Pattern[str]) -> Types:
    """Every named type whose 'package/path.Name' matches, reached from the type links of the executable."""
    binary, out, seen = Binary(path), Types({}, {}), set()
    _, offset, length = binary.sections[".typelink"]
    todo = [binary.base + link for link in struct.unpack_from(f"<{length // 4}i", binary.data, offset)]
    while todo:
        address = todo.pop()
        if address in seen:
            continue
        seen.add(address)
        _, flags, kind, _ = binary.kind(address)
        if kind in ("pointer", "slice", "map"):
            todo += binary.elements(address)
        if not flags & 4 or not wanted.match(name := binary.spelled(address)):
            continue
        if kind == "struct":
            pairs = list(binary.fields(address))
            out.structs[name] = [field for field, _ in pairs]
            todo += [inner for _, inner in pairs]
        else:
            out.named[name] = binary.spelled(address, through=True)
    return out

"""The written state of one family's table, and which service port owns which element. Pure.

Several service ports may claim the same element (two ports of one cluster IP, one pod behind two Services). The first claim is written;
the element is removed with the last one. `replace` returns the script of a change, `fragment` the complete state.
"""

from collections.abc import Iterable, Mapping

from kapi.proxy import rules
from kapi.proxy.rules import EMPTY, Fragment


class Table:
    def __init__(self, family: str, name: str = rules.TABLE) -> None:
        self.family, self.name = family, name
        self._fragments: dict[str, Fragment] = {}
        self._owners: dict[tuple[str, str], dict[str, str]] = {}

    def replace(self, changes: Mapping[str, Fragment]) -> str:
        """Replace fragments by the name of their service port (EMPTY removes one). Returns the script; "" if nothing changes."""
        touched = {k: None for name, new in changes.items() for k in (*self._fragments.get(name, EMPTY).elements, *new.elements)}
        before, after = Fragment(), Fragment()
        before.elements = self._winners(touched)
        for name, new in changes.items():
            old = self._fragments.pop(name, EMPTY)
            before.chains |= old.chains
            before.sets |= old.sets
            after.chains |= new.chains
            after.sets |= new.sets
            self._disown(name, old)
            if new.elements:
                self._fragments[name] = new
                for key, verdict in new.elements.items():
                    self._owners.setdefault(key, {})[name] = verdict
        after.elements = self._winners(touched)
        return rules.change(self.family, before, after, self.name)

    def _disown(self, name: str, old: Fragment) -> None:
        for key in old.elements:
            owners = self._owners[key]
            del owners[name]
            if not owners:
                del self._owners[key]

    def _winners(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        return {key: next(iter(self._owners[key].values())) for key in keys if key in self._owners}

    def fragment(self) -> Fragment:
        """The fragment with everything that should be in the table."""
        out = Fragment()
        for one in self._fragments.values():
            out.chains |= one.chains
            out.sets |= one.sets
        out.elements = self._winners(self._owners)
        return out

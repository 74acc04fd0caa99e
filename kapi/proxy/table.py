"""What has been written into one family's table, and who wants which part of it. Pure.

Several service ports may want the same element (two ports of one cluster IP, one pod behind two Services): the first keeps it,
it goes when the last one goes. `replace` answers with the script of a change; `everything` with all there is.
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
        """Take over new fragments by the name of their service port; EMPTY takes one out. The script for it, '' when nothing differs."""
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

    def whole(self) -> Fragment:
        """All that should be there."""
        out = Fragment()
        for one in self._fragments.values():
            out.chains |= one.chains
            out.sets |= one.sets
        out.elements = self._winners(self._owners)
        return out

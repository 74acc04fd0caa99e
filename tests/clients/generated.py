"""The official client's generated methods, called by what they are about: `Calls(api, object).read()` is
`AppsV1Api.read_namespaced_deployment(name, namespace)`. Remembers which methods were called.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any

from kubernetes import client

from kapi.objects.meta import Object

_WORDS = re.compile(r"(.)([A-Z][a-z]+)")
_ENDS = re.compile(r"([a-z0-9])([A-Z])")


def api_name(api_version: str) -> str:
    """The class of a group's version, e.g. RbacAuthorizationV1Api."""
    group, _, version = api_version.rpartition("/")
    words = group.removesuffix(".k8s.io").split(".") if group else ["core"]
    return "".join(w.capitalize() for w in words) + version.capitalize() + "Api"


def word(kind: str) -> str:
    """A kind as the methods write it, e.g. csi_driver."""
    return _ENDS.sub(r"\1_\2", _WORDS.sub(r"\1_\2", kind)).lower()


def methods(api: type) -> set[str]:
    """The methods of a generated class that make a request."""
    found = {name for name, _ in inspect.getmembers(api, inspect.isfunction) if not name.startswith("_")}
    return {name for name in found if not name.endswith("_with_http_info")} - {"close"}


class Calls:
    """The methods about one object."""

    called: set[tuple[str, str]] = set()
    """(class, method) of every call made by anyone."""

    def __init__(self, api: client.ApiClient, kind: Object, name: str, namespace: str) -> None:
        self._class = api_name(kind["apiVersion"])
        self._api = getattr(client, self._class)(api)
        self.word, self.name = word(kind["kind"]), name
        self.namespaced = self.has(f"create_namespaced_{self.word}")
        self._where = {"namespace": namespace} if self.namespaced else {}
        self._noun = f"namespaced_{self.word}" if self.namespaced else self.word

    def has(self, method: str) -> bool:
        return hasattr(self._api, method)

    def offers(self, verb: str, sub: str = "") -> bool:
        return self.has(f"{verb}_{self._noun}{sub and '_' + sub}")

    def _call(self, method: str, **arguments: Any) -> Any:
        Calls.called.add((self._class, method))
        function: Callable[..., Any] = getattr(self._api, method)
        return function(**arguments)

    def create(self, body: Any, **options: Any) -> Any:
        return self._call(f"create_{self._noun}", body=body, **self._where, **options)

    def list(self, **options: Any) -> Any:
        return self._call(f"list_{self._noun}", **self._where, **options)

    def list_everywhere(self, **options: Any) -> Any:
        return self._call(f"list_{self.word}_for_all_namespaces", **options)

    def delete_all(self, **options: Any) -> Any:
        return self._call(f"delete_collection_{self._noun}", **self._where, **options)

    def do(self, verb: str, sub: str = "", **arguments: Any) -> Any:
        """read, replace, patch or delete the object, or a subresource of it."""
        return self._call(f"{verb}_{self._noun}{sub and '_' + sub}", name=self.name, **self._where, **arguments)

    @property
    def listing(self) -> Callable[..., Any]:
        """The list method as it is, for a Watch (which reads its docstring)."""
        found: Callable[..., Any] = getattr(self._api, f"list_{self._noun}")
        return found

"""StorageVersion (internal.apiserver.k8s.io)."""

from typing import Any

from kapi.objects.meta import Object
from kapi.registry.strategy import NAME_COLUMN
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, RuledStrategy


class StorageVersionStrategy(RuledStrategy):
    """internal.apiserver.k8s.io StorageVersion."""

    generation = False
    columns = (NAME_COLUMN, *rules.columns("CommonEncodingVersion@status.commonEncodingVersion|<unset>", "StorageVersions", "Age"))

    def check(self, new: Part, old: Object | None) -> None:
        meta = new.part("metadata")
        if meta.text("name") and "." not in meta.text("name").strip("."):
            meta.invalid("name", "name must be in the form of <group>.<resource>")

    def cells(self, obj: Object) -> list[Any]:
        status = obj.get("status") or {}
        servers = [f"{s.get('apiServerID')}={s.get('encodingVersion')}" for s in status.get("storageVersions") or ()]
        return [rules.shown(servers, "<unset>")]

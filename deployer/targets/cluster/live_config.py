"""The two texts of a release that its pods poll, written at once. The values of the Helm releases follow later.

Helm takes seconds for what the API server does in milliseconds, and a bad version answers all the while.
"""

from __future__ import annotations

import msgspec
import yaml

from deployer.targets.base import Overtaken
from deployer.targets.cluster.api import CONFLICT, FIELD_MANAGER, ApiServer, Refused
from deployer.targets.cluster.objects import ConfigMap
from gateway.spec.text import Dumper, load


class _Owner(msgspec.Struct, frozen=True):
    manager: str = ""


class _OwnedMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    managed_fields: list[msgspec.Raw] = []


class _Owned(msgspec.Struct, frozen=True):
    metadata: _OwnedMeta


class LiveConfig:
    """The text under one key of a ConfigMap. Errors of every method: TargetError.

    A write follows from what was read, or written, before it; so it is refused when anybody else has written since.
    """

    def __init__(self, api: ApiServer, *, namespace: str, name: str, key: str) -> None:
        self.name = name
        self._api = api
        self._key = key
        self._path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
        self._version = ""

    def read(self) -> str | None:
        """The text in force; None when there is none."""
        found = self._api.find(self._path, ConfigMap)
        if found is None:
            return None
        self._version = found.metadata.resource_version
        return found.data.get(self._key)

    def write(self, text: str | None) -> None:
        """Replace what is known to be in force, or remove it. Errors: Overtaken when it is not in force any more."""
        change = {"metadata": {"resourceVersion": self._version}, "data": {self._key: text}}
        try:
            written = self._api.patch(self._path, change)
        except Refused as error:
            if error.code != CONFLICT:
                raise
            raise Overtaken(
                f"ConfigMap {self.name} was changed by somebody else in the same moment",
                hint="`deployer rollout status` shows who is at work",
            ) from error
        self._version = msgspec.json.decode(written, type=ConfigMap).metadata.resource_version

    def disown(self) -> None:
        """Leave the text to Helm alone: a field with two owners is a conflict for whoever upgrades without force."""
        found = self._api.find(self._path, _Owned)
        if found is None:
            return
        meta = found.metadata
        others = [one for one in meta.managed_fields if msgspec.json.decode(one, type=_Owner).manager != FIELD_MANAGER]
        if others and len(others) < len(meta.managed_fields):
            change = {"metadata": {"resourceVersion": meta.resource_version, "managedFields": others}}
            try:
                self._api.patch(self._path, change)
            except Refused as error:
                if error.code != CONFLICT:  # Somebody has written since, who owns it now.
                    raise


def as_helm_writes(text: str) -> str:
    """YAML in the form in which the chart renders it, as far as is known: gateways then have nothing to read anew.

    Where Go's YAML writes something in another way after all, they read the same settings once more.
    """
    document: object = load(text)
    return yaml.dump(document, Dumper=_HelmsDumper, sort_keys=True, allow_unicode=True, width=2**20)


class _HelmsDumper(Dumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _string(dumper: _HelmsDumper, text: str) -> yaml.ScalarNode:
    """A string that would be read as a number or a word of YAML stands in double quotes."""
    read_as = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    ambiguous = read_as != "tag:yaml.org,2002:str"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if ambiguous else None)


_HelmsDumper.add_representer(str, _string)

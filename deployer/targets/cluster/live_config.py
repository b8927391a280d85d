"""The two configuration texts that pods poll. They are written at once; the values of the Helm releases follow later.

Helm needs seconds, the API server milliseconds; until then a bad version would serve traffic.
"""

from __future__ import annotations

import msgspec
import yaml

from deployer.decode import json_as
from deployer.errors import TargetError
from deployer.targets.base import WriteConflict
from deployer.targets.cluster.api import CONFLICT, FIELD_MANAGER, ApiServer, Refused
from deployer.targets.cluster.objects import CONFIG_MAP_BYTES, ConfigMap
from gateway.spec.reading.text import Dumper, load


class _Owner(msgspec.Struct, frozen=True):
    manager: str = ""


class _OwnedMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    managed_fields: list[msgspec.Raw] = []


class _Owned(msgspec.Struct, frozen=True):
    metadata: _OwnedMeta


SOURCE, LIVE = "tfserving-deployer/source", "live"
"""Annotation of a ConfigMap whose content only the deployer writes: no Helm release holds it."""


class LiveConfig:
    """The text under one key of a ConfigMap. Errors of every method: TargetError.

    A write is based on the last read or write; it is rejected if anybody else has written since.
    """

    def __init__(self, api: ApiServer, *, namespace: str, name: str, key: str) -> None:
        self.name = name
        self._api = api
        self._key = key
        self._path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
        self._version = ""
        self._source = ""

    @property
    def is_live(self) -> bool:
        """Whether only the deployer writes it, as of the last read: the values of no Helm release follow it."""
        return self._source == LIVE

    def read(self) -> str | None:
        """The current text; None if there is none."""
        found = self._api.find(self._path, ConfigMap)
        if found is None:
            return None
        self._version = found.metadata.resource_version
        self._source = found.metadata.annotations.get(SOURCE, "")
        return found.data.get(self._key)

    def write(self, text: str | None) -> None:
        """Replace the text that was last read, or remove it (None).

        Errors: WriteConflict if it has changed since; TargetError for a text that no ConfigMap can hold.
        """
        if text is not None and len(text.encode()) > CONFIG_MAP_BYTES:
            size = f"{len(text.encode()) / 2**20:.1f} MiB"
            raise TargetError(
                f"the text for ConfigMap {self.name} takes {size}, and a ConfigMap holds 1 MiB",
                hint="shorten the vocabularies of feature specs, hold fewer versions at once, or split the release",
            )
        change = {"metadata": {"resourceVersion": self._version}, "data": {self._key: text}}
        try:
            written = self._api.patch(self._path, change)
        except Refused as error:
            if error.code != CONFLICT:
                raise
            raise WriteConflict(
                f"ConfigMap {self.name} was changed by somebody else at the same time",
                hint="`deployer rollout status` shows which deployer is working on it",
            ) from error
        self._version = json_as(written, ConfigMap).metadata.resource_version

    def disown(self) -> None:
        """Give up the ownership of the field: with two owners, a `helm upgrade` without --force would be a conflict."""
        found = self._api.find(self._path, _Owned)
        if found is None:
            return
        meta = found.metadata
        others = [raw for raw in meta.managed_fields if json_as(raw, _Owner).manager != FIELD_MANAGER]
        if others and len(others) < len(meta.managed_fields):
            change = {"metadata": {"resourceVersion": meta.resource_version, "managedFields": others}}
            try:
                self._api.patch(self._path, change)
            except Refused as error:
                if error.code != CONFLICT:  # Somebody else has written it since and owns it now.
                    raise


def as_helm_writes(text: str) -> str:
    """YAML in the form in which the chart renders it, so that gateways need no reload after the next Helm upgrade.

    If Go's YAML formats something differently after all, gateways reload the same settings once.
    """
    document: object = load(text)
    return yaml.dump(document, Dumper=_HelmDumper, sort_keys=True, allow_unicode=True, width=2**20)


class _HelmDumper(Dumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _string(dumper: _HelmDumper, text: str) -> yaml.ScalarNode:
    """Put a string in double quotes if YAML would read it as another type."""
    read_as = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    ambiguous = read_as != "tag:yaml.org,2002:str"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if ambiguous else None)


_HelmDumper.add_representer(str, _string)

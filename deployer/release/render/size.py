"""The size of the gateways' settings in a cluster, where a ConfigMap holds 1 MiB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployer.errors import SpecError
from deployer.targets.cluster.objects import CONFIG_MAP_BYTES


def check_size(settings: Mapping[str, object]) -> None:
    """Reject settings of a gateway that no ConfigMap can hold.

    Errors: SpecError that names the model whose feature specs are the largest.
    """
    size = yaml_bytes(settings)
    if size <= CONFIG_MAP_BYTES:
        return
    sizes = {
        (model, version): yaml_bytes(spec)
        for model, section in _map(settings.get("models")).items()
        for version, spec in _map(_map(section).get("specs")).items()
    }
    cause = ""
    if sizes:
        (model, version), largest = max(sizes.items(), key=lambda item: item[1])
        cause = f"the largest feature spec is that of {model} version {version}, {_mib(largest)}"
    raise SpecError(
        f"the gateways' settings take {_mib(size)}, and a ConfigMap holds 1 MiB",
        cause=cause,
        hint="shorten vocabularies (a hashed feature needs none), hold fewer versions at once, or give the model a "
        "release of its own",
    )


def yaml_bytes(value: object, depth: int = 0) -> int:
    """Bytes that a value takes as YAML in the form of Helm, at least; no string is quoted, which only adds to it."""
    if isinstance(value, Mapping) and value:
        return sum(2 * depth + len(str(key).encode()) + 2 + _inside(item, depth) for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        # The dash of an item that spans lines stands in the indentation of its first one.
        return sum((0 if _nested(item) else 2 * depth + 2) + yaml_bytes(item, depth + 1) for item in value)
    return len(str(value).encode()) + 1


def _inside(value: object, depth: int) -> int:
    """A value below its key: lists stand in the column of their key, maps are indented."""
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return yaml_bytes(value, depth if listed else depth + 1)


def _nested(value: object) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str) and bool(value)


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"

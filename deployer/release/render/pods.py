"""The section `pods` of deployer.yaml as values of the charts."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.domain.pods import DEFAULT_USER, Pods

Document = dict[str, object]
"""Values that will be written as YAML."""


def with_pods(values: Mapping[str, object], pods: Pods) -> Document:
    """The values of a chart, and what `pods` adds; what the values say already takes precedence."""
    return _under(values, _values(pods))


def _under(values: Mapping[str, object], more: Mapping[str, object]) -> Document:
    joined = dict(values)
    for key, value in more.items():
        there = joined.get(key)
        if key not in joined:
            joined[key] = value
        elif isinstance(there, Mapping) and isinstance(value, Mapping):
            joined[key] = _under(there, value)
    return joined


def _values(pods: Pods) -> Document:
    values: Document = dict(pods.placement)
    if pods.labels:
        values["podLabels"] = dict(pods.labels)
    if pods.annotations:
        values["podAnnotations"] = dict(pods.annotations)
    if pods.service_account:
        values["serviceAccount"] = {"create": False, "name": pods.service_account}
    if pods.user != DEFAULT_USER:
        # Helm removes a default of the chart where a value is null.
        user = None if pods.user == "assigned" else pods.user
        values["podSecurityContext"] = {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
    if pods.cpu_limit:
        values["helmTest"] = {"resources": {"limits": {"cpu": pods.cpu_limit}}}
    return values

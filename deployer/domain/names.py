"""Rules for names of releases, namespaces and labels, as Helm, Kubernetes and TensorFlow Serving set them."""

from __future__ import annotations

import re

MAX_RELEASE = 42
"""A Helm release name has at most 53 characters; the charts are installed as NAME-tf-serving and NAME-gateway."""

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VERSION_LABEL = re.compile(r"[A-Za-z0-9_]{1,63}")


def release_problem(name: str) -> str:
    """Why `name` is not a valid release name; empty if it is valid."""
    if _DNS_LABEL.fullmatch(name) and len(name) <= MAX_RELEASE:
        return ""
    return (
        f"{name!r} is not a valid release name: 1 to {MAX_RELEASE} of a-z, 0-9 and '-'"
        ", the first and last a letter or digit"
    )


def namespace_problem(name: str) -> str:
    """Why `name` is not a valid Kubernetes namespace; empty if it is valid."""
    if _DNS_LABEL.fullmatch(name) and len(name) <= 63:
        return ""
    return f"{name!r} is not a valid namespace: 1 to 63 of a-z, 0-9 and '-', the first and last a letter or digit"


def label_problem(label: str) -> str:
    """Why `label` is not a valid version label; empty if it is valid. TensorFlow Serving allows no others."""
    if _VERSION_LABEL.fullmatch(label):
        return ""
    return f"{label!r} is not a valid version label: 1 to 63 letters, digits or '_'"

"""What may be called what: each rule is that of the place where the name ends up."""

from __future__ import annotations

import re

MAX_RELEASE = 42
"""A Helm release has 53 characters, and the two charts are installed as NAME-tf-serving and NAME-gateway."""

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VERSION_LABEL = re.compile(r"[A-Za-z0-9_]{1,63}")


def release_problem(name: str) -> str:
    """Why `name` cannot name a release; empty when it can."""
    if _DNS_LABEL.fullmatch(name) and len(name) <= MAX_RELEASE:
        return ""
    return f"{name!r} is no release name: 1 to {MAX_RELEASE} of a-z, 0-9 and '-', with a letter or digit at both ends"


def namespace_problem(name: str) -> str:
    """Why `name` cannot name a Kubernetes namespace; empty when it can."""
    if _DNS_LABEL.fullmatch(name) and len(name) <= 63:
        return ""
    return f"{name!r} is no namespace: 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends"


def label_problem(label: str) -> str:
    """Why `label` cannot be a version label; empty when it can. TensorFlow Serving promises no more than these."""
    if _VERSION_LABEL.fullmatch(label):
        return ""
    return f"{label!r} is no version label: 1 to 63 letters, digits or '_'"

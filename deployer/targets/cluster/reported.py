"""Events on the Deployment of a release, as `kubectl describe` and collectors of events show them."""

from __future__ import annotations

import time
import uuid

from deployer.targets.cluster.api import FIELD_MANAGER, ApiServer
from deployer.targets.cluster.objects import Deployment

MESSAGE_CHARACTERS = 1024
"""What the newer events API takes as a note; longer ones are cut."""


def report(api: ApiServer, deployment: Deployment, *, reason: str, message: str, warning: bool, now: float) -> None:
    """Create an Event about a Deployment; `reason` is one word in CamelCase, `now` in seconds since 1970.

    Errors: TargetError.
    """
    meta, stamp = deployment.metadata, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    cut = message if len(message) <= MESSAGE_CHARACTERS else message[: MESSAGE_CHARACTERS - 1] + "…"
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta.name}.{uuid.uuid4().hex[:16]}", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
        },
        "reason": reason,
        "message": cut,
        "type": "Warning" if warning else "Normal",
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
    api.create(f"/api/v1/namespaces/{meta.namespace}/events", event)

"""Values of the two charts, from the same release that the local files come from."""

from __future__ import annotations

from deployer.domain.location import MODELS_MOUNT, cluster_store
from deployer.domain.release import Release
from deployer.domain.serving import ServingConfig
from deployer.domain.threads import thread_counts
from deployer.domain.workload import Autoscaling, Image, Resources
from deployer.render.gateway_file import Document, Specs, routing_document
from deployer.render.text import to_yaml
from tfserving import flags

EMBEDDED_SERVER = "tfserving-deployer/modelserver"
"""How the repository of this project's model server ends, in whatever registry it is."""


def values_tf_serving(release: Release, state: ServingConfig) -> str:
    """values.yaml of the tf-serving chart; what deployer.yaml leaves open is left to the chart."""
    serving, threads = release.serving, thread_counts(release)
    document: Document = {
        "models": [
            {
                "name": model.name,
                "versions": list(state.models[model.name].versions),
                "labels": dict(state.models[model.name].labels),
            }
            for model in release.models
        ],
        **_image(serving.image),
        **_own_server(serving.image),
        "serving": {
            "modelConfigPollSeconds": serving.model_config_poll_seconds,
            "fileSystemPollSeconds": 1,
            "loadThreads": threads.load,
            "unloadThreads": threads.unload,
            "maxLoadRetries": serving.max_load_retries,
            "loadRetrySeconds": serving.load_retry_seconds,
            "restTimeoutSeconds": serving.rest_timeout_seconds,
            "threads": {
                "intraOp": threads.intra_op,
                "interOp": threads.inter_op,
                "grpc": threads.grpc,
                "rest": threads.rest,
            },
        },
        "extraArgs": flags.render(serving.flags),
        "batching": _batching(release),
        "monitoring": {"enabled": True, "path": serving.metrics_path},
        **_scale(serving.replicas, release.autoscaling),
        "gpu": {"enabled": serving.pool == "gpu", "count": serving.gpus},
        "resources": _resources(serving.resources),
        **_storage(release),
    }
    return to_yaml(document) + "\n"


def values_gateway(release: Release, state: ServingConfig, specs: Specs) -> str:
    """values.yaml of the gateway chart. Its name tells it the model servers' Service."""
    gateway = release.gateway
    document: Document = {
        "modelServer": {"refreshSeconds": gateway.backend_refresh_seconds},
        "config": routing_document(release, state, specs),
        **_image(gateway.image),
        **_scale(gateway.replicas, gateway.autoscaling),
        "resources": _resources(gateway.resources),
    }
    return to_yaml(document) + "\n"


def _image(image: Image) -> Document:
    named = {"registry": image.registry, "repository": image.repository, "tag": image.tag, "digest": image.digest}
    return {"image": {**{key: value for key, value in named.items() if value}, "pullPolicy": image.pull_policy}}


def _own_server(image: Image) -> Document:
    """The embedded server's image has no wrapper script to be bypassed, and exists for arm64, too."""
    if not image.repository.endswith(EMBEDDED_SERVER):
        return {}
    return {"command": [], "nodeSelector": {"kubernetes.io/arch": None}}


def _scale(replicas: int, autoscaling: Autoscaling | None) -> Document:
    if autoscaling is None:
        return {"replicaCount": replicas, "autoscaling": {"enabled": False}}
    return {
        "replicaCount": replicas,
        "autoscaling": {
            "enabled": True,
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "targetCPUUtilizationPercentage": autoscaling.cpu_percent,
        },
    }


def _resources(resources: Resources) -> Document:
    limits = {"memory": resources.memory}
    if resources.cpu_limit:
        limits["cpu"] = resources.cpu
    return {"requests": {"cpu": resources.cpu, "memory": resources.memory}, "limits": limits}


def _batching(release: Release) -> Document:
    batching = release.batching
    if batching is None:
        return {"enabled": False}
    document: Document = {
        "enabled": True,
        "maxBatchSize": batching.max_batch_size,
        "batchTimeoutMicros": batching.batch_timeout_micros,
        "maxEnqueuedBatches": batching.max_enqueued_batches,
        "numBatchThreads": thread_counts(release).batch,
        "allowedBatchSizes": list(batching.allowed_batch_sizes),
        "padVariableLengthInputs": batching.pad_variable_length_inputs,
    }
    if batching.enable_large_batch_splitting:
        document["enableLargeBatchSplitting"] = True
        document["maxExecutionBatchSize"] = batching.max_execution_batch_size
    return document


def _storage(release: Release) -> Document:
    """The claim is made by whoever publishes first, before there is a Helm release that could make it."""
    store = cluster_store(release.store, release=release.name, namespace=release.namespace)
    return {
        "storage": {"type": "existingClaim", "mountPath": MODELS_MOUNT, "subPath": store.subpath},
        "persistence": {"existingClaim": store.claim},
    }

"""Values of the two charts for a release."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.domain.location import MODELS_MOUNT, PvcStore, cluster_store
from deployer.domain.release import Release, Serving
from deployer.domain.rollout import Policy
from deployer.domain.serving import ServingConfig
from deployer.domain.workload import Autoscaling, Image, Resources
from deployer.errors import SpecError
from deployer.release.render.gateway_file import Document, Specs, model_servers, routing_document
from deployer.release.render.pods import with_pods
from deployer.release.render.server_flags import tflite_flags
from deployer.release.render.size import check_size
from deployer.release.render.text import to_yaml
from deployer.release.threads import thread_counts
from tfserving import flags

PRE_STOP_SECONDS = 10
CHART_GRACE_SECONDS = 45
"""The charts' preStop sleep and termination grace period."""

GRACE_MARGIN_SECONDS = 5

SAMPLES_MARGIN_MIB = 16

EMBEDDED_SERVER = "tfserving-deployer/modelserver"
"""The suffix of the image repository of this project's model server, in any registry."""


def values_tf_serving(release: Release, state: ServingConfig) -> str:
    """values.yaml of the tf-serving chart; values that deployer.yaml does not set keep the chart's defaults.

    Errors: SpecError for a key of `serving.values` that another key of deployer.yaml sets.
    """
    serving, threads = release.serving, thread_counts(release)
    document: Document = {
        "models": _models(release, state),
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
        **_own_model_config(serving.rollout_policy, release.pods.cpu_limit),
        "extraArgs": flags.render({**tflite_flags(release), **serving.flags}),
        "batching": _batching(release),
        **({"sslConfigSecret": serving.tls.secret} if serving.tls and serving.tls.secret else {}),
        "monitoring": {"enabled": True, "path": serving.metrics_path},
        **_scale_servers(release),
        "gpu": _gpu(serving),
        "resources": _resources(serving.resources),
        **_storage(release),
        **_grace(PRE_STOP_SECONDS + serving.rest_timeout_seconds, serving.values),
    }
    return to_yaml(with_pods(_joined(document, serving.values, "serving.values"), release.pods)) + "\n"


def values_gateway(release: Release, state: ServingConfig, specs: Specs) -> str:
    """values.yaml of the gateway chart. The chart derives the model servers' Service from its release name.

    Errors: SpecError for a key of `gateway.values` that another key of deployer.yaml sets, and for feature specs that
    no ConfigMap can hold.
    """
    gateway, config = release.gateway, routing_document(release, state, specs, in_cluster=True)
    if isinstance(release.store, PvcStore):
        check_size(config)
    document: Document = {
        **({"models": {"source": "live"}} if release.models_source == "live" else {}),
        "modelServer": {
            "refreshSeconds": gateway.backend_refresh_seconds,
            **_backend_tls(release),
            **_from_zero(release),
        },
        "config": config,
        **_image(gateway.image),
        **_scale(gateway.replicas, gateway.autoscaling),
        "resources": _resources(gateway.resources),
        **_grpc(gateway.grpc_port),
        **({"keysSecret": gateway.auth.keys_secret} if gateway.auth and gateway.auth.keys_secret else {}),
        **({"tlsSecret": gateway.tls.secret} if gateway.tls and gateway.tls.secret else {}),
        **_samples(release),
        **_model_store(release),
        **_grace(PRE_STOP_SECONDS + gateway.limits.timeout_ms // 1000, gateway.values),
    }
    return to_yaml(with_pods(_joined(document, gateway.values, "gateway.values"), release.pods)) + "\n"


def _models(release: Release, state: ServingConfig) -> object:
    """The models. With `models_source: live` the chart does not read them; `deploy --from-values` begins with them."""
    listed = [
        {
            "name": model.name,
            "versions": list(state.models[model.name].versions),
            "labels": dict(state.models[model.name].labels),
        }
        for model in release.models
    ]
    return {"source": "live", "initial": listed} if release.models_source == "live" else listed


def _backend_tls(release: Release) -> Document:
    tls = release.serving.tls
    if tls is None or not tls.gateway_secret:
        return {}
    name = tls.server_name or model_servers(release)
    return {"tls": {"secret": tls.gateway_secret, "serverName": name, "clientCertificate": tls.mutual}}


def _samples(release: Release) -> Document:
    sampling = release.gateway.sampling
    if sampling is None:
        return {}
    mebibytes = len(release.models) * sampling.max_bytes // (1 << 20) + SAMPLES_MARGIN_MIB
    return {"samples": {"enabled": True, "existingClaim": sampling.pvc or "", "sizeLimit": f"{mebibytes}Mi"}}


def _model_store(release: Release) -> Document:
    if not release.gateway.mount_store:
        return {}
    store = cluster_store(release.store, release=release.name, namespace=release.namespace)
    return {"modelStore": {"existingClaim": store.pvc, **({"subPath": store.subpath} if store.subpath else {})}}


def _grpc(port: int | None) -> Document:
    if port is None:
        return {}
    return {"grpc": {"enabled": True}, **({"service": {"grpcPort": port}} if port else {})}


def _joined(document: Document, more: Mapping[str, object], path: str) -> Document:
    """Merge additional values of the user into the values; maps are merged recursively."""
    joined = dict(document)
    for key, value in more.items():
        existing, here = document.get(key), f"{path}.{key}"
        if isinstance(existing, dict) and isinstance(value, Mapping) and key != "config":  # owned by rollouts
            joined[key] = _joined(existing, value, here)
        elif key in document:
            raise SpecError(
                f"{here} is set by other keys of deployer.yaml",
                hint="docs/reference/deployer-yaml.md lists them; `values` is for chart values without a key",
            )
        else:
            joined[key] = value
    return joined


def _grace(longest: int, more: Mapping[str, object]) -> Document:
    """A longer grace period, if the charts' default does not cover the longest request; `longest` in seconds."""
    if longest < CHART_GRACE_SECONDS or "terminationGracePeriodSeconds" in more or "preStopSleepSeconds" in more:
        return {}
    return {"terminationGracePeriodSeconds": longest + GRACE_MARGIN_SECONDS}


def _image(image: Image) -> Document:
    named = {"registry": image.registry, "repository": image.repository, "tag": image.tag, "digest": image.digest}
    return {"image": {**{key: value for key, value in named.items() if value}, "pullPolicy": image.pull_policy}}


def _own_server(image: Image) -> Document:
    """The embedded server's image has no wrapper script to bypass, and also exists for arm64."""
    if not image.repository.endswith(EMBEDDED_SERVER):
        return {}
    return {"command": [], "nodeSelector": {"kubernetes.io/arch": None}}


def _own_model_config(policy: Policy, cpu_limit: str) -> Document:
    """With the resource-preserving policy, pods need their own model_config during a rollout."""
    if policy is not Policy.RESOURCES:
        return {}
    return {"ownModelConfig": {"enabled": True, **({"resources": {"limits": {"cpu": cpu_limit}}} if cpu_limit else {})}}


def _scale(replicas: int, autoscaling: Autoscaling | None) -> Document:
    if autoscaling is None:
        return {"replicaCount": replicas, "autoscaling": {"enabled": False}}
    return {"replicaCount": replicas, "autoscaling": _bounds(autoscaling)}


def _bounds(autoscaling: Autoscaling) -> Document:
    return {
        "enabled": True,
        "minReplicas": autoscaling.min_replicas,
        "maxReplicas": autoscaling.max_replicas,
        "targetCPUUtilizationPercentage": autoscaling.cpu_percent,
    }


def _scale_servers(release: Release) -> Document:
    """As `_scale`; with `waiting_per_replica` KEDA scales by the requests at the gateways, and by CPU as before."""
    scaled, wanted = _scale(release.serving.replicas, release.autoscaling), release.autoscaling
    if wanted is None or wanted.waiting_per_replica is None:
        return scaled
    pods = f'{{namespace="{release.namespace}",pod=~"{release.name}-gateway-.*"}}'
    waiting = {
        "serverAddress": wanted.prometheus,
        "query": f"sum(gateway_in_flight{pods} + gateway_waiting{pods})",
        "threshold": str(wanted.waiting_per_replica),
        "ignoreNullValues": "false",  # gateways that nobody scrapes are an error of the trigger, not an idle release
    }
    by_cpu = {"value": str(wanted.cpu_percent), "containerName": MODEL_SERVER}
    triggers = [
        {"type": "prometheus", "metadata": waiting},
        {"type": "cpu", "metricType": "Utilization", "metadata": by_cpu},
    ]
    return {**scaled, "autoscaling": {**_bounds(wanted), "keda": {"enabled": True, "triggers": triggers}}}


MODEL_SERVER = "model-server"
"""The container of the tf-serving chart that is scaled by CPU."""


def _from_zero(release: Release) -> Document:
    """Gateways of a release that may have no model server are ready without one, and wait for the first."""
    none = release.autoscaling is not None and release.autoscaling.min_replicas == 0
    return {"scaleToZero": True} if none else {}


def _gpu(serving: Serving) -> Document:
    share = {} if serving.gpu_memory_share is None else {"memoryFraction": serving.gpu_memory_share}
    return {"enabled": serving.pool == "gpu", "count": serving.gpus, **share}


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
    """The PVC already exists: `publish` creates it before the first Helm release."""
    store = cluster_store(release.store, release=release.name, namespace=release.namespace)
    return {
        "storage": {"type": "existingClaim", "mountPath": MODELS_MOUNT, "subPath": store.subpath},
        "persistence": {"existingClaim": store.pvc},
    }

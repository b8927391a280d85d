"""The target for a release in a Kubernetes cluster, installed by the two charts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TypeVar

from deployer.domain.gateway import Tls
from deployer.domain.location import PvcStore
from deployer.domain.release import Release
from deployer.errors import SpecError, TargetError
from deployer.targets import credentials
from deployer.targets.agents.agent import Agent, AgentProgram
from deployer.targets.base import (
    CpuReading,
    GatewayReplica,
    HttpReply,
    LoadEndpoints,
    MemoryReading,
    Progress,
    Replica,
    Target,
)
from deployer.targets.cluster import kubeconfig, proof
from deployer.targets.cluster.agent_job import agent_job
from deployer.targets.cluster.api import (
    NOT_FOUND,
    PARALLEL_REQUESTS,
    ApiServer,
    Place,
    Refused,
    connect,
    pod_path,
    proxy_path,
)
from deployer.targets.cluster.bridge import bridge
from deployer.targets.cluster.helm_releases import HelmReleases
from deployer.targets.cluster.history.configmaps import ConfigMapHistory
from deployer.targets.cluster.live_config import LiveConfig
from deployer.targets.cluster.names import GATEWAY, MODEL_SERVER, NEWCOMER_KEY, Names
from deployer.targets.cluster.objects import Event, Pod, Service
from deployer.targets.cluster.own_configs import OwnConfigs
from deployer.targets.cluster.reported import report
from deployer.targets.cluster.scale import Scale
from deployer.targets.cluster.state import cpu, memory, view
from deployer.targets.cluster.state.snapshot import ClusterSnapshot, snapshot
from deployer.targets.cluster.texts import ConfigTexts
from deployer.targets.rest import is_admin_page
from deployer.targets.storage import pvc_contents
from deployer.targets.storage.contents import Contents
from deployer.targets.waiting import until_nothing
from deployer.tools import process
from deployer.tools.client_tls import client_tls
from deployer.tools.helm import Helm

CONFIG_CHANGED = "tfserving-deployer/config-changed"
"""Annotation of a pod. Any change of a pod makes its kubelet update the mounted ConfigMaps at once."""

CRASH_LOG_LINES = 4
"""Log lines of a crashed container that an error shows."""

T = TypeVar("T")
R = TypeVar("R")


class ClusterTarget(Target):
    """The `Target` whose replicas and gateways are pods; requests reach them through the API server's pod proxy."""

    kind = "cluster"
    needs_refresh = True

    def __init__(
        self, names: Names, place: Place, api: ApiServer, helm: HelmReleases, *, tls: Tls | None = None
    ) -> None:
        self.names = names
        self.tls = tls
        self.place = place
        self.api = api
        self.helm = helm
        self.scaling = Scale(api, place.namespace, names.tf_serving)
        self.gateway_scaling = Scale(api, place.namespace, names.gateway)
        self.texts = ConfigTexts(names, place, api, helm)
        newcomer = LiveConfig(api, namespace=place.namespace, name=names.models, key=NEWCOMER_KEY)
        pods = partial(self.pods, MODEL_SERVER)
        self._own = OwnConfigs(api, namespace=place.namespace, newcomer=newcomer, pods=pods)

    @classmethod
    def open(cls, release: str, place: Place, *, tls: Tls | None = None) -> ClusterTarget:
        """Open the release of this name; HELM in the environment is the helm program. `tls` is that of the gateways.

        Errors: TargetError.
        """
        place = resolved(place)
        program = os.environ.get("HELM", "helm")
        helm = Helm(namespace=place.namespace, context=place.context, kubeconfig=place.kubeconfig, program=program)
        names = Names(release=release)
        return cls(names, place, connect(place), HelmReleases(names, helm), tls=tls)

    # -- Target

    def describe(self) -> str:
        return f"{self.place}, release {self.names.release}"

    def replicas(self) -> tuple[Replica, ...]:
        return tuple(
            Replica(
                name=pod.name,
                cpus=cpu.limit(pod),
                memory_limit=memory.limit(pod),
                alive=pod.status.phase in ("Pending", "Running"),
                ends=view.ends(pod),
                ended=view.last_end(pod),
            )
            for pod in self.pods(MODEL_SERVER)
            if not pod.terminating
        )

    def gateways(self) -> tuple[GatewayReplica, ...]:
        return tuple(
            GatewayReplica(name=pod.name, url="", alive=pod.status.phase in ("Pending", "Running"))
            for pod in self.pods(GATEWAY)
            if not pod.terminating
        )

    @contextmanager
    def reachable_gateways(self) -> Iterator[tuple[GatewayReplica, ...]]:
        """One gateway with a local URL; its requests are spread over the ready gateways."""
        with bridge(self._request, lambda: [pod.name for pod in self.pods(GATEWAY) if pod.ready]) as url:
            yield (GatewayReplica(name=self.names.gateway, url=url),)

    def notes(self) -> tuple[str, ...]:
        return (*self.scaling.notes(), *self.gateway_scaling.notes())

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        if self.names.is_gateway(name) and not is_admin_page(path):
            return self._request(name, path, None, timeout=timeout, headers=credentials.headers())
        port = self.names.state_port(name)
        return self._request(name, path, None, port=port, timeout=timeout, headers={"cache-control": "no-cache"})

    def post(self, name: str, path: str, body: bytes, *, timeout: float) -> HttpReply:
        own = credentials.headers() if self.names.is_gateway(name) else None
        return self._request(name, path, body, timeout=timeout, headers=own)

    def scale(self, replicas: int, *, timeout: float, progress: Progress) -> None:
        deadline = time.monotonic() + timeout
        progress(f"scaling {self.names.tf_serving} to {replicas}")
        self.scaling.to(replicas)
        self.wait(
            lambda: proof.scaled(self, replicas),
            what=f"{replicas} replicas that every gateway uses",
            deadline=deadline,
            progress=progress,
        )

    def model_config(self) -> str:
        return self.texts.read(MODEL_SERVER)

    def put_model_config(self, text: str) -> None:
        self.put_model_config_without_refresh(text)
        self.touch(MODEL_SERVER)

    def put_model_config_without_refresh(self, text: str) -> None:
        self.texts.write(MODEL_SERVER, text)

    def gateway_config(self) -> str:
        return self.texts.read(GATEWAY)

    def put_gateway_config(self, text: str) -> None:
        self.texts.write(GATEWAY, text)
        self.touch(GATEWAY)

    def restore(self, component: str, text: str) -> None:
        """Restore the text that Helm wrote last, and Helm's ownership of it. Errors: WriteConflict."""
        self.texts.restore(component, text)
        self.touch(component)

    def record(self) -> None:
        scales = {MODEL_SERVER: self.scaling, GATEWAY: self.gateway_scaling}

        def record(component: str) -> None:
            if self.texts.record(component, replicas=scales[component].deployment().spec.replicas):
                self.touch(component)

        self.parallel(record, self.texts.unrecorded())  # Helm needs seconds for each, mostly waiting.

    @contextmanager
    def held(self, *, timeout: float, progress: Progress) -> Iterator[None]:
        before = self.scaling.deployment().spec.replicas
        scaled = self.scaling.automatic()
        self.gateway_scaling.hold()
        try:
            yield
        finally:
            self._restore_scale(before, scaled, timeout=timeout, progress=progress)

    def _restore_scale(self, before: int, scaled: bool, *, timeout: float, progress: Progress) -> None:
        """Undo `scale`: first the number of replicas, because the autoscaler continues from there."""
        self.gateway_scaling.resume()
        if self.scaling.deployment().spec.replicas != before:
            self.scaling.to(before)
        if self.scaling.resume():
            progress(f"the autoscaler of {self.names.tf_serving} is active again")
        if not scaled and len(self.replicas()) != before:
            progress(f"scaling back to {before}")
            self.scale(before, timeout=timeout, progress=progress)

    def load_endpoints(self) -> LoadEndpoints:
        domain = f"{self.place.namespace}.svc"
        gateway, model_servers = self._port(self.names.gateway, "http"), self._port(self.names.tf_serving, "grpc")
        scheme, tls = ("http", None) if self.tls is None else ("https", client_tls(self.tls))
        return LoadEndpoints(
            gateways=(f"{scheme}://{self.names.gateway}.{domain}:{gateway}",),
            model_servers=f"{self.names.tf_serving}.{domain}:{model_servers}",
            tls=tls,
        )

    def _port(self, service: str, name: str) -> int:
        path = f"/api/v1/namespaces/{self.place.namespace}/services/{service}"
        found = self.api.find(path, Service)
        port = found.port(name) if found is not None else None
        if port is None:
            raise TargetError(
                f"there is no Service {service} with a port {name}", hint="`deployer deploy` installs the release"
            )
        return port

    def cpu_readings(self) -> Mapping[str, CpuReading]:
        pods = {pod.name: pod.spec.node_name for pod in (*self.pods(MODEL_SERVER), *self.pods(GATEWAY))}
        nodes = sorted({node for node in pods.values() if node})
        texts = self.parallel(lambda node: self.api.call("GET", cpu.path(node)).decode(), nodes)
        found = [cpu.readings(text, self.place.namespace) for text in texts]
        return {name: reading for readings in found for name, reading in readings.items() if name in pods}

    def memory_readings(self) -> Mapping[str, MemoryReading]:
        path = memory.path(self.place.namespace)
        try:
            found = self.api.list(path, memory.PodMetrics, labels=self.names.replica_labels)
        except Refused:
            return {}  # no metrics-server, or no permission
        return memory.readings(found)

    def cpu_limit(self) -> str:
        limits = {cpu.limit(pod) for pod in self.pods(MODEL_SERVER)} - {None}
        return f"container limit of {', '.join(f'{limit:g}' for limit in limits)} CPU" if limits else "none"

    def history(self) -> ConfigMapHistory:
        fences = (self.names.models, self.names.gateway_config)
        return ConfigMapHistory(self.api, namespace=self.place.namespace, release=self.names.release, fences=fences)

    def read_store(
        self, release: Release, wanted: Mapping[str, Iterable[int]], *, image: str, timeout: float, progress: Progress
    ) -> Contents:
        if not isinstance(release.store, PvcStore):
            raise SpecError(
                f"the store of {release.name} is a directory", hint="set `store: pvc://…` for a release in a cluster"
            )
        creation = pvc_contents.creation(release.storage)
        return pvc_contents.read_pvc(
            self.api,
            release.store,
            wanted,
            image=image,
            pods=release.pods,
            creation=creation,
            timeout=timeout,
            progress=progress,
        )

    def snapshot(self) -> ClusterSnapshot:
        return snapshot(self)

    def run_agent(
        self, program: AgentProgram, *, timeout: float, progress: Progress
    ) -> AbstractContextManager[Agent | None]:
        return agent_job(self, program, timeout=timeout, progress=progress)

    # -- a model_config of one replica

    def report(self, reason: str, message: str, *, warning: bool) -> None:
        deployment = self.scaling.deployment()
        report(self.api, deployment, reason=reason, message=message, warning=warning, now=time.time())

    def require_own_configs(self) -> None:
        self._own.require()

    def own_configs(self) -> Mapping[str, str]:
        return self._own.read()

    def put_own_config(self, name: str, text: str | None) -> None:
        self._own.put(name, text)

    def newcomer_config(self) -> str | None:
        return self._own.newcomer()

    def put_newcomer_config(self, text: str | None) -> None:
        self._own.put_newcomer(text, release=self.model_config())

    # -- what other parts of the cluster target need

    def pods(self, component: str) -> tuple[Pod, ...]:
        """The pods of the model servers (`MODEL_SERVER`) or of the gateways (`GATEWAY`), sorted by name."""
        labels = self.names.replica_labels if component == MODEL_SERVER else self.names.gateway_labels
        found = self.api.list(pod_path(self.place.namespace), Pod, labels=labels)
        return tuple(sorted(found, key=lambda pod: pod.name))

    def events(self) -> tuple[Event, ...]:
        """The events of the namespace."""
        return self.api.list(f"/api/v1/namespaces/{self.place.namespace}/events", Event)

    def touch(self, component: str) -> None:
        """Make every pod of a component update its mounted configuration now instead of within a minute."""
        self.refresh([pod.name for pod in self.pods(component) if not pod.terminating])

    def refresh(self, names: Collection[str]) -> None:
        stamp = {"metadata": {"annotations": {CONFIG_CHANGED: f"{time.time():.6f}"}}}

        def annotate(name: str) -> None:
            try:
                self.api.patch(pod_path(self.place.namespace, name), stamp)
            except Refused as error:
                if error.code != NOT_FOUND:  # the pod was deleted meanwhile
                    raise

        self.parallel(annotate, tuple(names))

    def wait(self, missing: Callable[[], Sequence[str]], *, what: str, deadline: float, progress: Progress) -> None:
        """Wait until nothing is missing; the cause of a time-out names pods, containers and events."""
        until_nothing(missing, what=what, deadline=deadline, progress=progress, explain=self.explain)

    def explain(self) -> str:
        """Why pods of the release are not ready, one line per pod, with the last log lines of crashed containers."""
        pods = (*self.pods(MODEL_SERVER), *self.pods(GATEWAY))
        text = view.explain(pods, self.events())
        logs = [(pod.name, self.crash_log(pod)) for pod in pods if view.crashed(pod)]
        return "\n".join([text, *(f"log of {name}: {log}" for name, log in logs if log)])

    def crash_log(self, pod: Pod) -> str:
        """The last log lines of the crashed container; empty if they are not available."""
        path = f"{pod_path(self.place.namespace, pod.name)}/log"
        query = {"container": view.crashed(pod), "tailLines": str(CRASH_LOG_LINES), "previous": "true"}
        for attempt in (query, {**query, "previous": ""}):
            try:
                return process.tail(self.api.call("GET", path, query=attempt).decode(errors="replace"), CRASH_LOG_LINES)
            except Refused:
                continue  # there is no previous container, or its log is gone
        return ""

    def parallel(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Call `work` for every item, a limited number in parallel; results in the order of the items."""
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            return list(pool.map(work, items))

    def _request(
        self,
        name: str,
        path: str,
        body: bytes | None,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> HttpReply:
        """POST with a body, GET without one, through the API server; by default to the port for clients."""
        secure = self.tls is not None and port is None and self.names.is_gateway(name)
        where = proxy_path(self.place.namespace, name, port or self.names.http_port(name), path, secure=secure)
        method = "GET" if body is None else "POST"
        try:
            return self.api.proxied(method, where, body=body, headers=headers, timeout=timeout)
        except TargetError as error:
            raise TargetError(
                self._unreachable(name), cause=error.cause or error.message, hint="`deployer doctor` finds the reason"
            ) from error

    def _unreachable(self, name: str) -> str:
        """Why a pod does not respond, from its own state."""
        pod = self.api.find(pod_path(self.place.namespace, name), Pod)
        if pod is None:
            return f"pod {name} no longer exists"
        return f"{name} does not respond: {view.pod_problem(pod) or f'its phase is {pod.status.phase}'}"


def resolved(place: Place) -> Place:
    """The place with its actual context, except in a pod that has none and means the cluster around it.

    Errors: TargetError when none is given and there is no current one.
    """
    context = place.context or kubeconfig.current_context(place.kubeconfig)
    if not context and not kubeconfig.in_pod(place.kubeconfig):
        raise TargetError(
            "there is no current kube-context", hint="--context selects one; `deployer cluster up` creates a cluster"
        )
    return Place(namespace=place.namespace, context=context, kubeconfig=place.kubeconfig)

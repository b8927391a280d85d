"""A release without a cluster: the real helm renders it, what it would apply is kept in memory and in files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml
from fake_api import FakeApi

from deployer.targets.cluster.api import Place, pod_path
from deployer.targets.cluster.helm_releases import HelmReleases
from deployer.targets.cluster.live_config import LIVE, SOURCE
from deployer.targets.cluster.names import GATEWAY_KEY, MODELS_KEY, Names
from deployer.targets.cluster.target import ClusterTarget
from deployer.tools.helm import Helm

NAMESPACE = "ns"
_PROGRAM = """#!{python}
import json, pathlib, subprocess, sys
argv = sys.argv[1:]
if argv[0] == "version":
    sys.exit(subprocess.run([{helm!r}, *argv]).returncode)
name = argv[1] if argv[0] == "status" else argv[2]
kept = pathlib.Path(__file__).with_name(name + ".json")
before = json.loads(kept.read_text()) if kept.exists() else None
if argv[0] == "status":
    sys.exit("Error: release: not found" if before is None else print(json.dumps(before)))
values = sys.stdin.read()
template = [{helm!r}, "template", name, argv[3], "--namespace", {namespace!r}, "--kube-version", "1.30.0", "-f", "-"]
done = subprocess.run(template, input=values, stdout=subprocess.PIPE, text=True)
if done.returncode:
    sys.exit(done.returncode)
answer = {{"name": name, "namespace": {namespace!r}, "version": before["version"] + 1 if before else 1,
          "info": {{"status": "deployed"}}, "config": json.loads(values), "manifest": done.stdout}}
if not [flag for flag in argv if flag.startswith("--dry-run")]:
    kept.write_text(json.dumps(answer))
print(json.dumps(answer))
"""


class FakeCluster:
    """Two Helm releases of the release `demo`, and the objects that a cluster would hold of them (no pod runs)."""

    def __init__(self, directory: Path, helm_program: str) -> None:
        program = directory / "helm"
        program.write_text(_PROGRAM.format(python=sys.executable, helm=helm_program, namespace=NAMESPACE))
        program.chmod(0o755)
        self.directory = directory
        self.api = FakeApi()
        self.api.objects[pod_path(NAMESPACE)] = {"metadata": {}, "items": []}
        names, helm = Names(release="demo"), Helm(namespace=NAMESPACE, program=str(program))
        api = self.api.server()
        self.target = ClusterTarget(names, Place(namespace=NAMESPACE), api, HelmReleases(names, helm))

    def follow(self) -> None:
        """Have the objects that helm applied last."""
        for kept in self.directory.glob("demo-*.json"):
            for one in yaml.safe_load_all(json.loads(kept.read_text())["manifest"]):
                group = {"ConfigMap": "/api/v1", "Deployment": "/apis/apps/v1"}.get(one["kind"] if one else "")
                if group:
                    path = f"{group}/namespaces/{NAMESPACE}/{one['kind'].lower()}s/{one['metadata']['name']}"
                    self.api._put(path, one)

    def adopt_live(self) -> None:
        """Have the two ConfigMaps as the charts make them with `models.source: live`: without content."""
        for name in (self.target.names.models, self.target.names.gateway_config):
            path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"
            metadata = {**self.api.objects[path]["metadata"], "annotations": {SOURCE: LIVE}}
            self.api._put(path, {"metadata": metadata})

    def edit(self, name: str, text: str) -> None:
        """Somebody replaces the one text of a ConfigMap of the release by hand."""
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/demo-{name}"
        key = {"gateway-config": GATEWAY_KEY, "tf-serving-models": MODELS_KEY}[name]
        there = self.api.objects[path]
        self.api._put(path, {**there, "data": {**there["data"], key: text}})

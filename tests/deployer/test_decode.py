"""Threads may read JSON into a type at the same time, also when it is used for the first time."""

from __future__ import annotations

import ast
import subprocess
import sys

from paths import ROOT

TOGETHER = """
import sys, threading
from deployer.decode import document_as, json_as
from deployer.targets.cluster.objects import Deployment

sys.setswitchinterval(1e-6)
body = b'{"metadata": {"name": "a"}, "spec": {"replicas": 1}, "status": {}}'
document = {"metadata": {"name": "a"}, "spec": {"replicas": 1}, "status": {}}
begin = threading.Barrier(8)

def read(index):
    begin.wait()
    found = json_as(body, Deployment) if index % 2 else document_as(document, Deployment)
    assert found.spec.replicas == 1

threads = [threading.Thread(target=read, args=(index,)) for index in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_eight_threads_learn_a_type_together() -> None:
    for _ in range(12):  # by msgspec alone about every second run crashed
        ran = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, timeout=60, cwd=ROOT)
        assert (ran.returncode, ran.stderr) == (0, "")


def test_the_deployer_reads_into_types_by_this_module_alone() -> None:
    others = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "deployer").rglob("*.py")
        if path.name != "decode.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) == "msgspec.convert"
            or (
                ast.unparse(node.func) == "msgspec.json.decode"
                and any(keyword.arg == "type" for keyword in node.keywords)
            )
        )
    ]
    assert others == []

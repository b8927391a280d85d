"""deployer.yaml: what little is enough, what all of it means, and what is refused with its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.domain.gate import Metric
from deployer.domain.location import DirectoryStore, PvcStore
from deployer.domain.release import Model
from deployer.errors import SpecError
from deployer.release import spec

MINIMAL = "release: demo\nstore: models\nmodels: [digits]\n"


def test_a_name_a_store_and_a_model_are_enough(tmp_path: Path) -> None:
    file = tmp_path / "deployer.yaml"
    file.write_text(MINIMAL)
    release = spec.load(file)
    assert release.name == "demo"
    assert release.store == DirectoryStore(path=str(tmp_path / "models"))
    assert release.models == (Model(name="digits"),)
    assert (release.namespace, release.context) == ("default", "")
    assert release.batching is None
    assert release.autoscaling is None


def test_every_section_is_read() -> None:
    release = spec.parse(
        """
version: v1
release: shop
namespace: ml
context: kind-test
store: pvc://ml/models/prod/eu
models:
  - {name: digits, signature: predict, features: {2: specs/d2.yaml}, sticky: {metadata: customer}}
  - tumor
serving:
  image: {registry: registry.local, repository: tf/serving, tag: "2.20.0", pull_policy: Never}
  replicas: 3
  pool: gpu
  gpus: 2
  resources: {cpu: 0.5, memory: 1Gi, cpu_limit: true}
  threads: {intra_op: 2, grpc: 64}
  flags: {enable_model_warmup: false}
batching: {max_batch_size: 8, allowed_batch_sizes: [1, 8]}
storage: {size: 5Gi, access_modes: [ReadWriteMany]}
autoscaling: {min_replicas: 1, max_replicas: 4}
gateway: {replicas: 1, limits: {max_records: 5}, rates: {base: EUR, file: rates.json}}
gates: ["p99<200ms", "error_rate <= 1%", "p99<1.2*stable", "samples>=500", "size<500MB"]
experiment: {replicas: [1, 2, 4], rates: [50, 100.5], records: data/records.jsonl}
""",
        Path("/srv"),
    )
    assert release.store == PvcStore(namespace="ml", pvc="models", subpath="prod/eu")
    assert release.model("digits").features == {2: "/srv/specs/d2.yaml"}
    assert release.model("tumor") == Model(name="tumor")
    assert release.serving.resources.cpu == "0.5"
    assert release.serving.resources.cpu_limit
    assert release.gateway.rates is not None
    assert release.gateway.rates.file == "/srv/rates.json"
    assert release.experiment.records == "/srv/data/records.jsonl"
    assert [(g.metric, g.relation, g.bound, g.of_stable) for g in release.gates] == [
        (Metric.P99, "<", 200.0, False),
        (Metric.ERROR_RATE, "<=", 0.01, False),
        (Metric.P99, "<", 1.2, True),
        (Metric.SAMPLES, ">=", 500.0, False),
        (Metric.SIZE, "<", 5e8, False),
    ]


def test_resources_left_out_are_those_of_the_part() -> None:
    release = spec.parse(MINIMAL + "serving: {resources: {cpu: 2}}\ngateway: {resources: {cpu: 50m}}", Path("/"))
    assert release.serving.resources.memory == "2Gi"
    assert release.gateway.resources.memory == "256Mi"


def test_a_pvc_brings_its_namespace() -> None:
    assert spec.parse("release: a\nstore: pvc://ml/c\nmodels: [m]", Path("/")).namespace == "ml"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("servin: {}", "unknown key 'servin'; did you mean 'serving'?"),
        ("serving: {resources: {cpuu: 1}}", "serving.resources: unknown key 'cpuu'; did you mean 'cpu'?"),
        ("autoscaling: {min_replica: 1}", "autoscaling: unknown key 'min_replica'; did you mean 'min_replicas'?"),
        ("gateway: {rates: {bse: EUR}}", "gateway.rates: unknown key 'bse'; did you mean 'base'?"),
        ("serving: {pool: tpu}", "serving.pool: "),
        ("serving: {image: {tag: 2.20}}", "serving.image.tag: Expected str"),
        ("serving: {replicas: 0}", "serving: replicas is 0; it must be at least 1"),
        ("serving: {replicas: many}", "serving.replicas: Expected int"),
        ("serving: {threads: {load: 1}}", "serving.threads: load is 1; with fewer than 2 threads"),
        ("serving: {threads: {rest: 1}}", "serving.threads: rest is 1"),
        ("serving: {resources: {cpu: lots}}", "serving.resources: 'lots' is not a number of CPUs"),
        ("serving: {resources: {memory: 0Gi}}", "serving.resources: '0Gi' is not an amount of memory"),
        ("serving: {flags: {enable_batchin: true}}", "did you mean --enable_batching?"),
        ("serving: {flags: {port: 1}}", "--port is always set, or set by other keys"),
        (
            "serving: {flags: {enable_serialization_as_tensor_content: true}}",
            "makes REST responses contain uninitialized memory",
        ),
        (
            "serving: {image: {tag: 2.10.0}, flags: {enable_per_model_batching_parameters: true}}",
            "knows it since 2.11, and 2.10.0",
        ),
        ("batching: {max_batch_size: 8, allowed_batch_sizes: [1, 4]}", "batching: Last entry in allowed_batch_sizes"),
        ("batching: {max_batch_size: 8, allowed_batch_sizes: [4, 4, 8]}", "batching: .*increase strictly"),
        ("batching: {max_execution_batch_size: 4}", "batching: max_execution_batch_size has no effect"),
        ("gates: ['p99<200']", r"gates\[0\]: .*unit none is not valid for p99; expected ms, s, us"),
        ("gates: ['p99<2ms', 'latency<1s']", r"gates\[1\]: .*unknown metric 'latency'"),
        ("gates: ['samples>=2*stable']", r"gates\[0\]: .*samples cannot be relative to stable"),
        ("gates: ['error_rate<5']", "is a share and cannot be above 100%"),
        ("gates: ['p99=200ms']", "is not a gate"),
        ("namespace: My_Space", "'My_Space' is not a valid namespace"),
        ("gateway: {port: 70000}", "gateway: port 70000"),
        ("autoscaling: {min_replicas: 5, max_replicas: 2}", "max_replicas 2 is below min_replicas 5"),
        ("experiment: {replicas: [2, 1]}", "experiment: replicas"),
        ("storage: {size: big}", "storage: 'big' is not an amount"),
        ("release: again", "is not valid YAML"),
        ("context: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(change: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        spec.parse(MINIMAL + change, Path("/"))
    assert "deployer.yaml" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: s\nmodels: [m]", "release"),
        ("release: A_b\nstore: s\nmodels: [m]", "'A_b' is not a valid release name"),
        ("release: a\nstore: s\nmodels: []", "models"),
        ("release: a\nstore: s\nmodels: [m, m]", "model m is listed twice"),
        ("release: a\nstore: s\nmodels: [a/b]", r"models\[0\]: 'a/b' is not a valid model name"),
        ("release: a\nstore: s\nmodels: [{name: m, sticky: {}}]", r"models\[0\].sticky: set exactly one"),
        ("release: a\nstore: s3://b\nmodels: [m]", "store: store 's3://b' is neither"),
        ("release: a\nstore: pvc://ns\nmodels: [m]", "store: "),
        ("release: a\nstore: pvc://ns/c/../d\nmodels: [m]", "leaves its PVC"),
        ("release: a\nstore: pvc://ns/c\nmodels: [m]\nnamespace: other", "a pod can only mount a PVC of its own"),
        ("version: v2\nrelease: a\nstore: s\nmodels: [m]", "version"),
        ("just text", "expected a mapping"),
        ("", "expected a mapping"),
    ],
)
def test_an_incomplete_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec.parse(text, Path("/"))


def test_an_absent_file_names_the_verb_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        spec.load(tmp_path / "none.yaml")
    assert "deployer init" in caught.value.hint


def test_words_and_numbers_are_read_as_the_gateway_reads_them() -> None:
    values = "serving: {values: {podAnnotations: {a: =, b: 2001-12-31, c: 007}}}\n"
    release = spec.parse(f"{MINIMAL}experiment: {{error_rate: 1e-3}}\n{values}", Path("/srv"))
    assert release.experiment.error_rate == 0.001
    assert release.serving.values == {"podAnnotations": {"a": "=", "b": "2001-12-31", "c": "007"}}

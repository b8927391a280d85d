"""A release as files: they say what was meant, twice the same, and the servers' own readers accept them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.domain.serving import ModelState, ServingConfig, first_state
from deployer.errors import SpecError
from deployer.release import spec
from deployer.release.render import render_release, state_of
from gateway.settings import parse_settings
from tfserving import flags
from tfserving.config import BatchingParameters, ModelServerConfig, MonitoringConfig, Specific

FEATURES = """
features:
  - {name: income, type: float, required: true, normalize: {mean: 52000, std: 21000}}
  - {name: purpose, type: category, vocabulary: ["<a>", 'b"', "ü"], encoding: one_hot, unknown: "ü"}
input: {name: x, dtype: float32, shape: [-1, 4]}
output: {name: y, kind: regression}
"""
MINIMAL = "release: demo\nstore: models\nmodels: [loan]\n"
TWO = ServingConfig(
    models={
        "loan": ModelState(versions=(1, 2), labels={"stable": 1, "canary": 2}, weights={"stable": 95, "canary": 5}),
    }
)


def rendered(extra: str = "", state: ServingConfig = TWO, specs: dict[str, dict[int, str]] | None = None) -> Any:
    release = spec.parse(MINIMAL + extra, Path("/srv"))
    return render_release(release, state, specs or {})


def test_the_model_config_names_versions_and_labels_and_nothing_newer() -> None:
    (model,) = ModelServerConfig.parse(rendered().files["models.config"]).models
    assert model.policy == Specific(versions=(1, 2))
    assert model.labels == {"stable": 1, "canary": 2}
    assert model.base_path == "/srv/models/loan"
    assert "latest" not in rendered().files["models.config"]


def test_equal_input_gives_equal_bytes() -> None:
    turned = ServingConfig(
        models={
            "loan": ModelState(versions=(2, 1), labels={"canary": 2, "stable": 1}, weights={"canary": 5, "stable": 95})
        }
    )
    one = rendered(specs={"loan": {2: FEATURES, 1: FEATURES}})
    two = rendered(state=turned, specs={"loan": {1: FEATURES, 2: FEATURES}})
    assert one == two


def test_the_gateway_gets_labels_weights_stickiness_and_the_spec_of_each_version() -> None:
    release = spec.parse(
        "release: demo\nstore: m\nmodels: [{name: loan, signature: s, sticky: {header: x-user-id}}]\n"
        "batching: {max_batch_size: 16}\ngateway: {limits: {max_records: 7}, rates: {base: EUR, table: {USD: 1.1}}}\n",
        Path("/srv"),
    )
    settings = parse_settings(render_release(release, TWO, {"loan": {2: FEATURES, 9: FEATURES}}).files["gateway.yaml"])
    loan = settings.models["loan"]
    assert (loan.signature, loan.labels, loan.max_rows_per_call) == ("s", {"stable": 1, "canary": 2}, 16)
    assert loan.routing is not None
    assert loan.routing.weights == {"stable": 95, "canary": 5}
    assert loan.routing.sticky is not None
    assert loan.routing.sticky.header == "x-user-id"
    assert list(loan.specs) == ["2", "9"], "9 is not served, and a rollback may go back to it"
    assert [feature.name for feature in loan.specs["2"].features] == ["income", "purpose"]
    assert "['<a>', 'b\"', 'ü']" in str(loan.specs["2"])
    assert settings.limits.max_records == 7
    assert settings.rates is not None
    assert settings.rates.table == {"USD": 1.1}


def test_a_claim_is_found_by_the_name_of_the_headless_service() -> None:
    release = spec.parse("release: demo\nstore: pvc://ml/claim/sub\nmodels: [loan]\n", Path("/"))
    files = render_release(release, TWO, {}).files
    assert parse_settings(files["gateway.yaml"]).backends.dns == "demo-tf-serving-headless.ml.svc:8500"
    assert ModelServerConfig.parse(files["models.config"]).models[0].base_path == "/models/loan"
    values = yaml.safe_load(files["tf-serving-values.yaml"])
    assert values["storage"] == {"type": "existingClaim", "mountPath": "/models", "subPath": "sub"}
    assert values["persistence"] == {"existingClaim": "claim"}


def test_the_flags_are_what_every_release_needs() -> None:
    line = flags.parse(rendered("serving: {resources: {cpu: 1500m}, flags: {enable_model_warmup: false}}\n").flags)
    assert not line.unknown
    assert not line.error
    assert line.on("allow_version_labels_for_unavailable_models")
    assert line.on("enable_grpc_healthcheck_service")
    assert not line.on("enable_profiler")
    assert not line.on("enable_model_warmup")
    assert not line.on("enable_batching")
    assert line.integer("num_load_threads") == 2
    assert line.integer("num_unload_threads") == 1
    assert line.integer("file_system_poll_wait_seconds") == 1
    assert line.integer("model_config_file_poll_wait_seconds") == 1
    assert line.integer("tensorflow_intra_op_parallelism") == 2
    assert line.text("monitoring_config_file") == "monitoring.config"


def test_the_author_cannot_set_what_is_always_set() -> None:
    assert set(rendered("batching: {}\n").server_flags) <= spec.OWN_FLAGS


def test_batching_takes_its_threads_from_the_cpus_and_grpc_has_room_for_two_batches() -> None:
    with_batching = rendered(
        "serving: {resources: {cpu: 3}}\n"
        "batching: {max_batch_size: 64, allowed_batch_sizes: [1, 64], enable_large_batch_splitting: true,"
        " max_execution_batch_size: 32, pad_variable_length_inputs: true}\n"
    )
    assert BatchingParameters.parse(with_batching.files["batching_parameters.txt"]) == BatchingParameters(
        max_batch_size=64,
        batch_timeout_micros=1000,
        max_enqueued_batches=100,
        num_batch_threads=3,
        allowed_batch_sizes=(1, 64),
        pad_variable_length_inputs=True,
        enable_large_batch_splitting=True,
        max_execution_batch_size=32,
    )
    assert flags.parse(with_batching.flags).integer("grpc_max_threads") == 128
    assert flags.parse(with_batching.flags).on("enable_batching")
    assert "batching_parameters.txt" not in rendered().files


def test_a_gpu_runs_one_batch_at_a_time() -> None:
    files = rendered("serving: {pool: gpu, gpus: 2, resources: {cpu: 8}}\nbatching: {}\n").files
    assert BatchingParameters.parse(files["batching_parameters.txt"]).num_batch_threads == 1
    assert yaml.safe_load(files["tf-serving-values.yaml"])["gpu"] == {"enabled": True, "count": 2}


def test_values_carry_what_the_charts_need() -> None:
    files = rendered(
        "serving: {image: {registry: r, tag: 2.20.0}, replicas: 3,"
        " resources: {cpu: 500m, memory: 1Gi, cpu_limit: true}}\n"
        "autoscaling: {min_replicas: 1, max_replicas: 4, cpu_percent: 60}\nbatching: {max_batch_size: 8}\n"
        "gateway: {replicas: 1}\n",
        specs={"loan": {1: FEATURES}},
    ).files
    serving = yaml.safe_load(files["tf-serving-values.yaml"])
    assert serving["models"] == [{"name": "loan", "versions": [1, 2], "labels": {"canary": 2, "stable": 1}}]
    assert serving["image"] == {"registry": "r", "tag": "2.20.0", "pullPolicy": "IfNotPresent"}
    assert serving["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"cpu": "500m", "memory": "1Gi"},
    }
    assert serving["autoscaling"] == {
        "enabled": True,
        "minReplicas": 1,
        "maxReplicas": 4,
        "targetCPUUtilizationPercentage": 60,
    }
    assert serving["batching"]["maxBatchSize"] == 8
    assert serving["storage"]["type"] == "existingClaim"
    assert serving["persistence"] == {"existingClaim": "demo-models"}
    gateway = yaml.safe_load(files["gateway-values.yaml"])
    assert gateway["replicaCount"] == 1
    assert gateway["config"]["models"]["loan"]["labels"] == {"canary": 2, "stable": 1}
    assert "backends" not in gateway["config"]
    parse_settings(yaml.safe_dump({"version": "v1", **gateway["config"], "backends": {"dns": "a:1"}}))


def test_values_of_the_charts_that_have_no_key_are_passed_on() -> None:
    files = rendered(
        "serving: {values: {tolerations: [{key: a, operator: Exists}], gpu: {memoryFraction: 0.5}}}\n"
        "gateway: {values: {networkPolicy: {enabled: true}}}\n",
        specs={"loan": {1: FEATURES}},
    ).files
    serving = yaml.safe_load(files["tf-serving-values.yaml"])
    assert serving["tolerations"] == [{"key": "a", "operator": "Exists"}]
    assert serving["gpu"] == {"enabled": False, "count": 1, "memoryFraction": 0.5}
    assert yaml.safe_load(files["gateway-values.yaml"])["networkPolicy"] == {"enabled": True}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("serving: {values: {replicaCount: 3}}", "serving.values.replicaCount"),
        ("serving: {values: {models: []}}", "serving.values.models"),
        ("serving: {values: {serving: {threads: {rest: 9}}}}", "serving.values.serving.threads.rest"),
        ("gateway: {values: {config: {limits: {max_queue: 2}}}}", "gateway.values.config"),
    ],
)
def test_a_value_that_another_key_decides_is_refused_with_its_path(text: str, path: str) -> None:
    with pytest.raises(SpecError, match=re.escape(path) + ".* is set by other keys"):
        rendered(f"{text}\n", specs={"loan": {1: FEATURES}})


def test_pods_have_time_for_the_longest_request_that_is_allowed() -> None:
    files = rendered("serving: {rest_timeout_seconds: 60}\ngateway: {limits: {timeout_ms: 90000}}\n", specs={}).files
    assert yaml.safe_load(files["tf-serving-values.yaml"])["terminationGracePeriodSeconds"] > 70
    assert yaml.safe_load(files["gateway-values.yaml"])["terminationGracePeriodSeconds"] > 100
    usual = rendered("", specs={}).files
    assert "terminationGracePeriodSeconds" not in yaml.safe_load(usual["tf-serving-values.yaml"])


def test_the_metrics_path_is_where_deployer_yaml_says() -> None:
    files = rendered("serving: {metrics_path: /metrics}\n").files
    assert MonitoringConfig.parse(files["monitoring.config"]) == MonitoringConfig(path="/metrics")
    with pytest.raises(SpecError, match=r"serving\.metrics_path: .*/v1/ belongs"):
        rendered("serving: {metrics_path: /v1/metrics}\n")


def test_a_state_of_other_models_is_refused() -> None:
    with pytest.raises(SpecError, match="model loan: no version is chosen"):
        rendered(state=ServingConfig(models={}))
    with pytest.raises(SpecError, match=r"model cat: it is not in deployer\.yaml"):
        rendered(state=ServingConfig(models={**TWO.models, "cat": first_state([1])}))


def test_a_spec_that_the_gateway_would_refuse_is_refused() -> None:
    with pytest.raises(SpecError, match=r"feature spec of loan version 2 is invalid: .*nam.*did you mean 'name'"):
        rendered(specs={"loan": {2: FEATURES.replace("{name: income", "{nam: income")}})


def test_all_problems_of_a_spec_come_at_once_with_their_lines() -> None:
    broken = FEATURES.replace("std: 21000", "std: 0").replace("[-1, 4]", "[4]")
    with pytest.raises(SpecError) as raised:
        rendered(specs={"loan": {2: broken}})
    assert "line 3: features[0].normalize: std 0 must be above 0" in raised.value.message
    assert "line 5: input: shape [4] must begin with -1" in raised.value.cause


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ("", "converts 'income' into EUR, and deployer.yaml has no gateway.rates"),
        ("gateway: {rates: {base: USD, table: {JPY: 150}}}\n",
         "converts 'income' into EUR, which gateway.rates of deployer.yaml does not have"),
    ],
)  # fmt: skip
def test_a_currency_without_rates_is_refused_before_anything_runs(rates: str, message: str) -> None:
    specs = {"loan": {2: FEATURES.replace("required: true", "currency: {field: code, to: EUR}")}}
    with pytest.raises(SpecError, match=f"the feature spec of loan version 2 {message}"):
        rendered(rates, specs=specs)
    rendered("gateway: {rates: {base: USD, table: {EUR: 0.9}}}\n", specs=specs)


def test_a_release_too_old_for_the_health_service_is_refused() -> None:
    with pytest.raises(SpecError, match=r"enable_grpc_healthcheck_service: TensorFlow Serving knows it since 2\.15"):
        rendered("serving: {image: {tag: 2.14.1}}\n")


def test_the_state_can_be_read_back_from_the_files() -> None:
    files = rendered(specs={"loan": {1: FEATURES}}).files
    assert state_of(files["models.config"], files["gateway.yaml"]) == TWO


def test_a_config_that_was_changed_by_hand_is_not_taken_for_a_state() -> None:
    by_hand = "model_config_list { config { name: 'loan' base_path: '/m' model_platform: 'tensorflow' } }"
    with pytest.raises(SpecError, match="cannot be parsed"):
        state_of(by_hand, rendered().files["gateway.yaml"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"versions": ()}, "no version is served"),
        ({"versions": (0,)}, "start at 1"),
        ({"versions": (1,), "labels": {"stable": 2}}, "label stable is version 2, which is not served; served are"),
        ({"versions": (1,), "labels": {"a/b": 1}}, "is not a valid version label"),
        ({"versions": (1,), "labels": {"stable": 1}, "weights": {"canary": 1}}, "which has no version"),
        ({"versions": (1,), "labels": {"stable": 1}, "weights": {"stable": 0}}, "all weights are 0"),
        ({"versions": (1,), "labels": {"stable": 1}, "weights": {"stable": -1}}, "must be a finite number"),
    ],
)
def test_a_state_that_no_server_could_be_in_does_not_exist(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelState(**fields)


def test_the_first_state_is_the_newest_version_as_stable() -> None:
    assert first_state([1, 3, 2]) == ModelState(versions=(3,), labels={"stable": 3}, weights={"stable": 100})
    with pytest.raises(ValueError, match="has no version"):
        first_state([])


def test_specs_that_no_config_map_holds_are_refused_by_name() -> None:
    release = spec.parse("release: demo\nstore: pvc://ml/claim\nmodels: [loan]\n", Path("/"))
    words = "".join(f"  - item-{number:08d}\n" for number in range(60_000))
    large = (
        FEATURES
        + f"""
features:
- name: item
  type: category
  vocabulary:
{words}
input: {{name: x, dtype: float32, shape: [-1, 60000]}}
output: {{name: y, kind: regression}}
"""
    )
    large = large[large.rindex("features:") :]
    with pytest.raises(SpecError, match=r"MiB, and a ConfigMap holds 1 MiB") as refused:
        render_release(release, TWO, {"loan": {1: FEATURES, 2: large}})
    assert "loan version 2" in refused.value.cause


WITH_FILE = FEATURES.replace("vocabulary: [\"<a>\", 'b\"', \"ü\"], encoding: one_hot, unknown: \"ü\"",
                             "vocabulary_file: words.txt, encoding: index").replace("[-1, 4]", "[-1, 2]")  # fmt: skip


def test_gateways_of_a_cluster_read_vocabularies_from_the_mounted_store() -> None:
    release = spec.parse(
        "release: demo\nstore: pvc://ml/models/team\nmodels: [loan]\ngateway: {mount_store: true}\n", Path("/srv")
    )
    files = render_release(release, TWO, {"loan": {2: WITH_FILE}}).files
    values = yaml.safe_load(files["gateway-values.yaml"])
    assert values["modelStore"] == {"existingClaim": "models", "subPath": "team"}
    assert values["config"]["models"]["loan"]["files"] == "/models/loan"
    without = spec.parse("release: demo\nstore: pvc://ml/models\nmodels: [loan]\n", Path("/srv"))
    with pytest.raises(SpecError, match=r"reads 'purpose' from words\.txt, and gateways do not see the store"):
        render_release(without, TWO, {"loan": {2: WITH_FILE}})


def test_a_vocabulary_file_must_be_in_the_version(tmp_path: Path) -> None:
    release = spec.parse("release: demo\nstore: m\nmodels: [loan]\n", tmp_path)
    with pytest.raises(SpecError, match=r"words\.txt, which the version does not have"):
        render_release(release, TWO, {"loan": {2: WITH_FILE}})
    assets = tmp_path / "m" / "loan" / "2" / "assets.extra"
    assets.mkdir(parents=True)
    (assets / "words.txt").write_text("a\n")
    document = yaml.safe_load(render_release(release, TWO, {"loan": {2: WITH_FILE}}).files["gateway.yaml"])
    assert document["models"]["loan"]["files"] == str(tmp_path / "m" / "loan")

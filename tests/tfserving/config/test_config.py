"""The configuration files: what they may say, and that they come back as they were meant."""

from __future__ import annotations

from typing import Any

import pytest

from tfserving.config import (
    All,
    BatchingParameters,
    ConfigError,
    InvalidTextProto,
    Latest,
    ModelConfig,
    ModelServerConfig,
    MonitoringConfig,
    Policy,
    Specific,
    SSLConfig,
    parse_text,
)
from tfserving.wire import messages_pb2 as m

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def model(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"name": "m", "base_path": "/models/m", "policy": Specific(versions=(1, 2)), **changes})


@pytest.mark.parametrize("policy", [Latest(), Latest(num_versions=3), All(), Specific(versions=(3, 1))])
def test_every_policy_survives_the_file(policy: Policy) -> None:
    config = ModelServerConfig(models=(model(policy=policy), model(name="other", base_path="gs://b/o")))
    assert ModelServerConfig.parse(config.to_text()) == config


def test_equal_configs_give_equal_bytes() -> None:
    one = ModelServerConfig(models=(model(labels={"stable": 1, "canary": 2}),))
    two = ModelServerConfig(models=(model(labels={"canary": 2, "stable": 1}),))
    assert one.to_text() == two.to_text()
    assert one.to_text().index("canary") < one.to_text().index("stable")


def test_an_empty_list_is_written_so_that_later_reloads_work() -> None:
    assert ModelServerConfig().to_text() == "model_config_list {\n}\n"


def test_every_notation_of_text_protos_is_read() -> None:
    text = """
    # a comment
    model_config_list: < config: [
      { name: 'a' base_path: "/mo" "dels/a", model_type: TENSORFLOW; },
      { name: "b" base_path: "/b" model_platform: "tensorflow" model_version_policy { latest {} }
        version_labels { key: "x" value: 1 } }
    ] >
    """
    a, b = ModelServerConfig.parse(text).models
    assert (a.name, a.base_path, a.platform, a.policy) == ("a", "/models/a", "tensorflow", Latest())
    assert b.labels == {"x": 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model_config_list { config { nme: 'H' } }", "Invalid protobuf file: 'models.config'"),
        ("model_config_list {} model_config_list {}", "Invalid protobuf file"),
        ("model_config_list {", "Invalid protobuf file"),
        ("custom_model_config {}", "aborts the server"),
        ("model_config_list { config { name: 'a' base_path: '/a' } }", "Illegal setting neither .* nor .* name is a"),
        (
            "model_config_list { config { base_path: '/a' model_type: TENSORFLOW model_platform: 'tensorflow' } }",
            "both",
        ),
        ("model_config_list { config { name: 'a' base_path: '/a' model_type: OTHER } }", "choice 2 not supported"),
        ("model_config_list { config { name: 'a' base_path: '/a' model_platform: 'torch' } }", "'torch'"),
        (
            "model_config_list { config { name: 'a' base_path: '/a' model_platform: 'tensorflow' logging_config {} } }",
            "no request logger",
        ),
    ],
)
def test_a_file_that_the_server_refuses_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        ModelServerConfig.parse(text, "models.config")


def test_the_reason_of_a_syntax_error_names_type_line_and_column() -> None:
    with pytest.raises(InvalidTextProto) as caught:
        parse_text(m.BatchingParameters, b"\nmax_batch_size: 4", "b.config")
    assert caught.value.detail.startswith("Error parsing text-format tensorflow.serving.BatchingParameters: 2:")
    assert parse_text(m.BatchingParameters, " # nothing\n") == m.BatchingParameters()


def test_server_rules_hold_at_construction() -> None:
    with pytest.raises(ConfigError, match="Illegal to list model m multiple times"):
        ModelServerConfig(models=(model(), model()))
    for path in ("models/m", "", "./m"):
        with pytest.raises(ConfigError, match="absolute path or URI"):
            model(base_path=path)
    with pytest.raises(ConfigError, match="num_versions"):
        Latest(num_versions=-1)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": ""}, "REST addresses no empty name"),
        ({"name": "a/b"}, "REST addresses"),
        ({"name": "a:b"}, "REST addresses"),
        ({"base_path": "s3://bucket/m"}, "no s3://"),
        ({"policy": Specific(versions=())}, "no version to serve"),
        ({"policy": Specific(versions=(0, 1))}, "count from 1"),
        ({"policy": Specific(versions=(1, 1))}, "twice"),
        ({"policy": Latest(), "labels": {"stable": 1}}, "beside a 'latest' policy"),
        ({"labels": {"stable": 3}}, r"stands for version 3, which is not served; served are \[1, 2\]"),
        ({"labels": {"sta/ble": 1}}, "only letters, digits and '_'"),
        ({"labels": {"": 1}}, "only letters"),
    ],
)
def test_a_config_that_users_regret_is_never_written(changes: dict[str, Any], complaint: str) -> None:
    config = ModelServerConfig(models=(model(**changes),))
    with pytest.raises(ConfigError, match=complaint):
        config.to_text()


@pytest.mark.parametrize(
    "parameters",
    [
        BatchingParameters(),
        BatchingParameters(max_batch_size=8, batch_timeout_micros=0, max_enqueued_batches=0, num_batch_threads=1),
        BatchingParameters(max_batch_size=8, allowed_batch_sizes=(1, 4, 8), thread_pool_name="p"),
        BatchingParameters(allowed_batch_sizes=(1000,), pad_variable_length_inputs=True),
        BatchingParameters(max_batch_size=64, enable_large_batch_splitting=True, max_execution_batch_size=8),
    ],
)
def test_batching_parameters_survive_the_file(parameters: BatchingParameters) -> None:
    assert BatchingParameters.parse(parameters.to_text()) == parameters


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"max_batch_size": 0}, "max_batch_size is 0"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros is -1"),
        ({"max_enqueued_batches": -1}, "max_enqueued_batches"),
        ({"num_batch_threads": 0}, "num_batch_threads"),
        ({"max_batch_size": 8, "allowed_batch_sizes": (2, 4)}, "last entry was 4; expected 8"),
        ({"allowed_batch_sizes": (2, 4)}, "expected 1000"),
        ({"enable_large_batch_splitting": True, "max_batch_size": 8}, "needs both"),
        ({"enable_large_batch_splitting": True, "max_execution_batch_size": 8}, "needs both"),
        (
            {"enable_large_batch_splitting": True, "max_batch_size": 8, "max_execution_batch_size": 9},
            "larger than max_batch_size",
        ),
        ({"max_batch_size": 8, "allowed_batch_sizes": (4, 2, 8)}, "increase strictly"),
        ({"max_batch_size": 8, "allowed_batch_sizes": (0, 8)}, "increase strictly"),
        ({"max_execution_batch_size": 8}, "no effect without"),
    ],
)
def test_batching_parameters_that_break_or_mislead_are_never_written(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        BatchingParameters(**fields).to_text()


def test_a_bare_number_is_no_batching_parameter() -> None:
    with pytest.raises(InvalidTextProto):
        BatchingParameters.parse("max_batch_size: 128")
    with pytest.raises(InvalidTextProto):
        BatchingParameters.parse('batch_padding_policy: "PAD_UP"')


def test_monitoring_survives_the_file_and_keeps_to_its_path() -> None:
    config = MonitoringConfig(path="/metrics")
    assert MonitoringConfig.parse(config.to_text()) == config
    assert MonitoringConfig.parse("prometheus_config { enable: true }").path == "/monitoring/prometheus/metrics"
    assert not MonitoringConfig.parse("").enable
    for path in ("metrics", "", "/metrics?x=1", "/me trics", "/v1/metrics"):
        with pytest.raises(ConfigError, match="metrics path"):
            MonitoringConfig(path=path).to_text()


def test_ssl_holds_contents_and_hides_the_key() -> None:
    config = SSLConfig(server_key=PEM.replace("AAAA", "SECRET"), server_cert=PEM, custom_ca=PEM, client_verify=True)
    assert SSLConfig.parse(config.to_text()) == config
    assert "SECRET" not in repr(config)
    with pytest.raises(ConfigError, match="not its path"):
        SSLConfig(server_key="/etc/tls/tls.key", server_cert=PEM)
    with pytest.raises(ConfigError, match="client_verify needs custom_ca"):
        SSLConfig(server_key=PEM, server_cert=PEM, client_verify=True)

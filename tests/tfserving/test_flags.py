"""Command lines as the real server reads them, and as the deployer writes them."""

from __future__ import annotations

import pytest

from tfserving.flags import FLAGS, FlagError, parse, render, usage


@pytest.mark.parametrize(
    "text", ["--enable_batching", *(f"--enable_batching={v}" for v in ("true", "True", "TRUE", "1"))]
)
def test_every_spelling_of_on(text: str) -> None:
    line = parse([text])
    assert line.on("enable_batching")
    assert not line.error
    assert line.given == {"enable_batching"}


@pytest.mark.parametrize("text", ["=false", "=False", "=0"])
def test_every_spelling_of_off(text: str) -> None:
    assert not parse([f"--enable_profiler{text}"]).on("enable_profiler")


@pytest.mark.parametrize(
    "argument",
    [
        "--enable_batching=yes",
        "--enable_batching=",
        "--port=",
        "--port=abc",
        "--port=5000ms",
        "--port=1_000",
        "--port=0x10",
        "--rest_api_timeout_in_ms=99999999999",
        "--load_retry_interval_micros=9223372036854775808",
        "--per_process_gpu_memory_fraction=half",
        "--help",
    ],
)
def test_a_bad_value_ends_in_usage(argument: str) -> None:
    assert parse(["--model_name=m", argument]).error


def test_numbers_at_the_edges() -> None:
    line = parse(["--port=+5000", "--load_retry_interval_micros=-9223372036854775808", "--num_load_threads= 7 "])
    assert not line.error
    assert (line.integer("port"), line.integer("num_load_threads")) == (5000, 7)
    assert line.integer("load_retry_interval_micros") == -(2**63)
    assert parse(["--per_process_gpu_memory_fraction=1"]).number("per_process_gpu_memory_fraction") == 1.0


@pytest.mark.parametrize(
    ("argv", "first"),
    [
        (["--no_such_flag=1", "--other"], "--no_such_flag=1"),
        (["--rest_api_timeout_in_ms", "5"], "--rest_api_timeout_in_ms"),
        (["-model_name=Q"], "-model_name=Q"),
        (["word"], "word"),
        (["--enable_batching_please"], "--enable_batching_please"),
        (["--", "--port=1"], "--"),
    ],
)
def test_only_the_first_unknown_argument_is_reported_and_nothing_is_lost(argv: list[str], first: str) -> None:
    line = parse(["--model_name=m", *argv])
    assert line.unknown == first
    assert not line.error
    assert line.given == {"model_name"}
    assert line.integer("rest_api_timeout_in_ms") == 30000


def test_help_after_another_unknown_argument_starts_the_server() -> None:
    assert not parse(["--nonsense", "--help"]).error


def test_the_last_of_repeated_flags_wins_and_quotes_are_kept() -> None:
    assert parse(["--model_name=X", '--model_name="H"']).text("model_name") == '"H"'
    assert parse(["--model_name=a=b"]).text("model_name") == "a=b"


def test_a_default_that_depends_on_the_host_is_left_to_the_caller() -> None:
    assert parse([]).integer("grpc_max_threads", 16) == 16
    assert parse(["--grpc_max_threads=3"]).integer("grpc_max_threads", 16) == 3


def test_a_value_is_read_only_as_what_it_is() -> None:
    line = parse([])
    for read in (line.on, line.integer, line.number):
        with pytest.raises(FlagError):
            read("model_name")
    with pytest.raises(FlagError):
        line.text("port")


def test_render_and_parse_agree_on_every_flag() -> None:
    samples: dict[str, bool | int | float | str] = {
        "bool": True,
        "int32": 7,
        "int64": 2**40,
        "float": 0.25,
        "string": "x y",
    }
    values = {flag.name: samples[flag.kind] for flag in FLAGS.values()}
    line = parse(render(values))
    assert dict(line.values) == values
    assert not line.unknown


def test_render_refuses_what_the_server_would_ignore() -> None:
    with pytest.raises(FlagError, match=r"--enable_batchin: no such flag .* did you mean --enable_batching\?"):
        render({"enable_batchin": True})
    with pytest.raises(FlagError, match="expected int32, got True"):
        render({"port": True})
    with pytest.raises(FlagError, match="does not fit int32"):
        render({"port": 2**31})
    with pytest.raises(FlagError, match="expected bool, got 'yes'"):
        render({"enable_batching": "yes"})


def test_render_refuses_a_flag_that_the_release_does_not_know() -> None:
    values = {"enable_grpc_healthcheck_service": True}
    with pytest.raises(FlagError, match=r"knows it since 2\.15, and 2\.14\.1-gpu is to read it"):
        render(values, release="2.14.1-gpu")
    assert render(values, release="2.15.0") == render(values, release="latest")


def test_usage_names_every_flag() -> None:
    text = usage("tensorflow_model_server")
    assert text.startswith("usage: tensorflow_model_server\n")
    assert all(f"\t--{name}=" in text for name in FLAGS)

"""Every flag of `tensorflow_model_server`, and its rules for reading a command line.

The real server ignores a misspelt flag with one printed line and starts with the default. `render` therefore refuses
what it does not know; `parse` does exactly what the real server does, for the embedded one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Value = bool | int | float | str
Kind = Literal["bool", "int32", "int64", "float", "string"]

USAGE_EXIT_CODE = 255
"""Exit code after a bad value, `--help`, or a failed start."""

_TYPES: Mapping[Kind, tuple[type, ...]] = {
    "bool": (bool,),
    "int32": (int,),
    "int64": (int,),
    "float": (int, float),
    "string": (str,),
}
_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_INTEGER = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+[ \t\n\v\f\r]*", re.ASCII)
_FLOAT = re.compile(
    r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*|\s*[+-]?(inf|infinity|nan)\s*", re.I | re.A
)


class FlagError(ValueError):
    """A flag that does not exist, holds a value of another type, or is newer than the server that is to read it."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag: `default` None stands for a number that the server derives from the CPUs of its host.

    `since` is the first release that knows the flag, empty where every release of the 2.x line does.
    """

    name: str
    kind: Kind
    default: Value | None
    meaning: str
    since: str = ""


def _table(
    kind: Kind, rows: Sequence[tuple[str, Value | None, str] | tuple[str, Value | None, str, str]]
) -> list[Flag]:
    return [
        Flag(name=row[0], kind=kind, default=row[1], meaning=row[2], since=row[3] if len(row) == 4 else "")
        for row in rows
    ]


_ALL = [
    *_table(
        "int32",
        [
            ("port", 8500, "gRPC port on every IPv4 address; 0 needs grpc_socket_path"),
            ("rest_api_port", 0, "HTTP port for REST and metrics; 0 = no HTTP"),
            ("rest_api_num_threads", None, "HTTP threads, default 4 x CPUs; 1 answers nothing"),
            ("rest_api_timeout_in_ms", 30000, "time limit of a run asked for by REST; <= 0 = none"),
            ("model_config_file_poll_wait_seconds", 0, "re-read model_config_file this often; <= 0 = once", "1.15"),
            ("num_load_threads", 0, "threads that load versions; 0 = inline, one slow load blocks all others"),
            ("num_unload_threads", 0, "threads that unload versions; 0 = inline"),
            ("max_num_load_retries", 5, "further attempts after a failed load"),
            ("file_system_poll_wait_seconds", 1, "scan period of version directories; 0 = once, < 0 = never"),
            ("grpc_max_threads", None, "RPCs that may be in flight, default 4 x CPUs"),
            ("num_request_iterations_for_warmup", 0, "runs of each warm-up record; 0 = once", "2.8"),
            ("num_tflite_pools", None, "TF Lite interpreter pools, default one a CPU"),
            ("num_tflite_interpreters_per_pool", 1, "TF Lite interpreters in a pool"),
        ],
    ),
    *_table(
        "int64",
        [
            ("load_retry_interval_micros", 60_000_000, "wait between attempts to load; < 0 = none"),
            ("tensorflow_session_parallelism", 0, "threads inside and between operations; 0 = CPUs of the host"),
            ("tensorflow_intra_op_parallelism", 0, "threads inside one operation; 0 = CPUs of the host"),
            ("tensorflow_inter_op_parallelism", 0, "operations run at once; 0 = CPUs of the host"),
        ],
    ),
    *_table(
        "float",
        [("per_process_gpu_memory_fraction", 0.0, "share of each GPU's memory; 0 = TensorFlow's default, nearly all")],
    ),
    *_table(
        "bool",
        [
            ("enable_batching", False, "merge concurrent requests into batches"),
            (
                "enable_per_model_batching_parameters",
                False,
                "read batching_params.pbtxt of each version directory",
                "2.11",
            ),
            ("rest_api_enable_cors_support", False, "answer REST calls of any origin"),
            (
                "allow_version_labels_for_unavailable_models",
                False,
                "accept a new label on a version that is not loaded yet",
                "1.15",
            ),
            ("flush_filesystem_caches", True, "drop cached file contents after loads"),
            ("use_alts_credentials", False, "Google ALTS on the gRPC port", "2.9"),
            ("enable_model_warmup", True, "replay assets.extra/tf_serving_warmup_requests before a version serves"),
            ("remove_unused_fields_from_bundle_metagraph", True, "keep only the signatures of a graph in memory"),
            ("prefer_tflite_model", False, "serve model.tflite of a version directory where there is one"),
            ("enable_signature_method_name_check", False, "refuse signatures of another method than the RPC's"),
            ("xla_cpu_compilation_enabled", False, "XLA just-in-time compilation on CPU"),
            ("xla_gpu_compilation_enabled", False, "XLA just-in-time compilation on GPU"),
            ("enable_profiler", True, "tensorflow.ProfilerService on the gRPC port"),
            ("skip_initialize_tpu", False, "leave TPU initialisation to the models"),
            ("enable_grpc_healthcheck_service", False, "grpc.health.v1.Health on the gRPC port", "2.15"),
            (
                "enable_serialization_as_tensor_content",
                False,
                "answer Predict with tensor_content; breaks REST, which then reads memory never written",
            ),
            ("version", False, "print the version and exit"),
        ],
    ),
    *_table(
        "string",
        [
            ("grpc_socket_path", "", "a unix socket to listen on as well"),
            ("batching_parameters_file", "", "text proto BatchingParameters; needs enable_batching"),
            ("model_config_file", "", "text proto ModelServerConfig; wins over model_name and model_base_path"),
            ("model_name", "default", "name of the only model"),
            ("model_base_path", "", "absolute directory of the only model"),
            ("tensorflow_session_config_file", "", "text proto ConfigProto", "2.8"),
            ("platform_config_file", "", "text proto PlatformConfigMap; overrides batching, session and warm-up flags"),
            ("saved_model_tags", "serve", "tags of the graph to load, with commas between"),
            ("ssl_config_file", "", "text proto SSLConfig, for gRPC only; an unreadable one aborts the process"),
            ("grpc_channel_arguments", "", "k=v,k=v for gRPC; an item without '=' crashes the process"),
            ("monitoring_config_file", "", "text proto MonitoringConfig; needs rest_api_port"),
            ("thread_pool_factory_config_file", "", "text proto ThreadPoolFactoryConfig"),
            ("mixed_precision", "", "bfloat16, or nothing"),
        ],
    ),
]

FLAGS: Mapping[str, Flag] = MappingProxyType({flag.name: flag for flag in _ALL})
"""Every flag by name."""


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """What a command line says.

    `values` has every flag, with its default where it was not given; None as in `Flag.default`. `given` names those
    that were. `unknown` is the first argument that no flag reads: the real server prints it and goes on. `error` is
    non-empty when the server must print `usage` and exit with USAGE_EXIT_CODE.
    """

    values: Mapping[str, Value | None]
    given: frozenset[str]
    unknown: str = ""
    error: str = ""

    def text(self, name: str) -> str:
        """Value of a string flag. Errors: FlagError when the flag holds no text."""
        value = self.values[name]
        if not isinstance(value, str):
            raise FlagError(f"--{name} holds no text")
        return value

    def on(self, name: str) -> bool:
        """Value of a bool flag. Errors: FlagError when the flag is not a switch."""
        value = self.values[name]
        if not isinstance(value, bool):
            raise FlagError(f"--{name} is not a switch")
        return value

    def integer(self, name: str, derived: int = 0) -> int:
        """Value of an int32 or int64 flag; `derived` where the default depends on the host and nothing was given.

        Errors: FlagError when the flag holds no integer.
        """
        value = self.values[name]
        if value is None:
            return derived
        if isinstance(value, bool) or not isinstance(value, int):
            raise FlagError(f"--{name} holds no integer")
        return value

    def number(self, name: str) -> float:
        """Value of a float flag. Errors: FlagError when the flag holds no float."""
        value = self.values[name]
        if not isinstance(value, float):
            raise FlagError(f"--{name} holds no float")
        return value


def parse(argv: Sequence[str]) -> CommandLine:
    """Read the arguments after the program's name as the real server does.

    `--flag=value` only; a bool flag also bare. The last of repeated flags wins. All arguments are read even after a
    bad value. `--help` counts only as the first unknown argument, and everything after `--` is unknown.
    """
    values: dict[str, Value | None] = {flag.name: flag.default for flag in FLAGS.values()}
    given: set[str] = set()
    unknown: list[str] = []
    errors: list[str] = []
    for at, argument in enumerate(argv):
        if argument == "--":
            unknown.extend(argv[at:])
            break
        name, equals, text = argument.removeprefix("--").partition("=")
        flag = FLAGS.get(name)
        if flag is None or not argument.startswith("--") or (not equals and flag.kind != "bool"):
            unknown.append(argument)
            continue
        value = _value(flag.kind, text if equals else "true")
        if value is None:
            errors.append(f"Couldn't interpret value {text} for flag {name}.")
            continue
        values[name] = value
        given.add(name)
    if unknown[:1] == ["--help"]:
        errors.append("--help")
    return CommandLine(
        values=MappingProxyType(values),
        given=frozenset(given),
        unknown=unknown[0] if unknown else "",
        error=errors[0] if errors else "",
    )


def _value(kind: Kind, text: str) -> Value | None:
    """The value that `text` stands for, None when it stands for none."""
    if kind == "string":
        return text
    if kind == "bool":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if kind == "float":
        return float(text) if _FLOAT.fullmatch(text) else None
    low, high = _RANGES[kind]
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if low <= number <= high else None


def usage(program: str) -> str:
    """The text that the server prints when a command line cannot be used."""
    lines = [f"usage: {program}", "Flags:"]
    for flag in FLAGS.values():
        shown = "4 x CPUs" if flag.default is None else _text(flag.default)
        quoted = f'"{shown}"' if flag.kind == "string" else shown
        lines.append(f"\t--{flag.name}={quoted}\t{flag.kind}\t{flag.meaning}")
    return "\n".join(lines) + "\n"


def render(values: Mapping[str, Value], *, release: str = "") -> list[str]:
    """Arguments for the given flags, in their order.

    `release` is the TensorFlow Serving release ("2.14.1", "2.20.0-gpu") that will read them; without a leading number
    ("latest") its age is not checked.
    Errors: FlagError for an unknown flag (with the nearest known name), a value of another type or out of range, and a
    flag that `release` does not know.
    """
    return [_argument(name, value, release) for name, value in values.items()]


def _argument(name: str, value: Value, release: str) -> str:
    flag = FLAGS.get(name)
    if flag is None:
        near = difflib.get_close_matches(name, FLAGS, 1, 0.6)
        raise FlagError(
            f"--{name}: no such flag of TensorFlow Serving" + (f"; did you mean --{near[0]}?" if near else "")
        )
    wanted = _TYPES[flag.kind]
    if not isinstance(value, wanted) or (isinstance(value, bool) and flag.kind != "bool"):
        raise FlagError(f"--{name}: expected {flag.kind}, got {value!r}")
    text = _text(value)
    if _value(flag.kind, text) is None:
        raise FlagError(f"--{name}: {text} does not fit {flag.kind}")
    target, first = _version(release), _version(flag.since)
    if target and first and target < first:
        raise FlagError(f"--{name}: TensorFlow Serving knows it since {flag.since}, and {release} is to read it")
    return f"--{name}={text}"


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _version(release: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else None

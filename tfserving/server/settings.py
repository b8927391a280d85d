"""From the command line to what the parts of the server need: checks first, in the order of the real server."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tfserving.flags import CommandLine
from tfserving.server import textfiles
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import invalid

WITHOUT_EFFECT = (
    "flush_filesystem_caches",
    "use_alts_credentials",
    "platform_config_file",
    "per_process_gpu_memory_fraction",
    "remove_unused_fields_from_bundle_metagraph",
    "num_tflite_interpreters_per_pool",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
    "thread_pool_factory_config_file",
    "mixed_precision",
    "skip_initialize_tpu",
)
"""Flags that are accepted and do nothing here; the server says so at its start when one is given."""


_INT32 = re.compile(r"\s*[+-]?[0-9]{1,10}\s*", re.ASCII)
_INT32_RANGE = range(-(2**31), 2**31)


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def initial_config(line: CommandLine) -> m.ModelServerConfig:
    """The configuration that the server starts with: the file, or the one model of --model_name.

    Errors: StatusError.
    """
    path = line.text("model_config_file")
    if path:
        return textfiles.read(path, m.ModelServerConfig)
    model = m.ModelConfig(
        name=line.text("model_name"), base_path=line.text("model_base_path"), model_platform="tensorflow"
    )
    return m.ModelServerConfig(model_config_list=m.ModelConfigList(config=[model]))


def check_ports_and_models(line: CommandLine) -> None:
    """Errors: StatusError INVALID_ARGUMENT when nothing is to be served, or nowhere."""
    if not line.integer("port") and not line.text("grpc_socket_path"):
        raise invalid("At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.")
    if line.on("use_alts_credentials") and line.text("ssl_config_file"):
        raise invalid("Either use_alts_credentials must be false or ssl_config_file must be empty.")
    if not line.text("model_base_path") and not line.text("model_config_file"):
        raise invalid("Both server_options.model_base_path and server_options.model_config_file are empty!")


def session_config(line: CommandLine) -> m.ConfigProto:
    """Session settings of every model. Errors: StatusError INVALID_ARGUMENT."""
    path = line.text("tensorflow_session_config_file")
    config = textfiles.read(path, m.ConfigProto) if path else m.ConfigProto()
    both = line.integer("tensorflow_session_parallelism")
    intra, inter = line.integer("tensorflow_intra_op_parallelism"), line.integer("tensorflow_inter_op_parallelism")
    if both > 0 and intra > 0 and inter > 0:
        raise invalid(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )
    separate = intra > 0 or inter > 0
    config.intra_op_parallelism_threads = intra if separate else both
    config.inter_op_parallelism_threads = inter if separate else both
    return config


@dataclass(frozen=True, slots=True)
class ChannelArgument:
    """One gRPC channel argument: an integer when its text is one."""

    name: str
    value: int | str


def tflite_interpreters(line: CommandLine) -> int:
    """How many interpreters a `model.tflite` gets; 0 when it is not to be served."""
    return max(1, line.integer("num_tflite_pools", cpus())) if line.on("prefer_tflite_model") else 0


def channel_arguments(line: CommandLine) -> Sequence[ChannelArgument]:
    """The items of --grpc_channel_arguments. Errors: StatusError INVALID_ARGUMENT for one without "="."""
    found = []
    for item in filter(None, line.text("grpc_channel_arguments").split(",")):
        name, equals, value = item.partition("=")
        if not equals:
            raise invalid(f"--grpc_channel_arguments: '{item}' has no '='; write name=value,name=value")
        found.append(
            ChannelArgument(name, int(value) if _INT32.fullmatch(value) and int(value) in _INT32_RANGE else value)
        )
    return found

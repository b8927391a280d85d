"""batching_parameters_file: how concurrent requests are merged."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tfserving.config.text import ConfigError, parse_text, to_text
from tfserving.wire import messages_pb2 as m

DEFAULT_MAX_BATCH_SIZE = 1000
"""The server's max_batch_size when the file names none."""


@dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """None stands for the server's default.

    - `max_batch_size`: rows of one request and, without splitting, of one executed batch; default 1000.
    - `batch_timeout_micros`: how long an open batch waits for company once a thread is free; default 0.
    - `max_enqueued_batches`: waiting batches a queue (one a version and signature); default 10.
    - `num_batch_threads`: shared by all models; default the CPUs of the host, whatever the CPU limit is.
    - `thread_pool_name`: names the pool in metrics.
    - `allowed_batch_sizes`: a batch is padded up to the next of these.
    - `pad_variable_length_inputs`: pads the other dimensions to the batch's largest, with a request's first element.
    - `enable_large_batch_splitting`, `max_execution_batch_size`: cut larger requests into batches of this many rows.

    Errors at construction: ConfigError for what the server crashes on, fails to load any model with, or answers every
    request with an error for.
    """

    max_batch_size: int | None = None
    batch_timeout_micros: int | None = None
    max_enqueued_batches: int | None = None
    num_batch_threads: int | None = None
    thread_pool_name: str | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        at_least = {"max_batch_size": 1, "batch_timeout_micros": 0, "max_enqueued_batches": 0}
        at_least |= {"num_batch_threads": 1, "max_execution_batch_size": 1}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}")
        self._check_sizes()
        if self.enable_large_batch_splitting:
            self._check_splitting()

    def _check_sizes(self) -> None:
        largest = DEFAULT_MAX_BATCH_SIZE if self.max_batch_size is None else self.max_batch_size
        if self.allowed_batch_sizes and self.allowed_batch_sizes[-1] != largest:
            raise ConfigError(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{self.allowed_batch_sizes[-1]}; expected {largest}"
            )

    def _check_splitting(self) -> None:
        if self.max_batch_size is None or self.max_execution_batch_size is None:
            raise ConfigError(
                "enable_large_batch_splitting needs both max_batch_size and max_execution_batch_size;"
                " the server takes 0 for an absent one and refuses every request"
            )
        if self.max_execution_batch_size > self.max_batch_size:
            raise ConfigError(
                f"max_execution_batch_size {self.max_execution_batch_size} is larger than max_batch_size"
                f" {self.max_batch_size}"
            )

    def check(self) -> None:
        """Refuse what the server accepts and then ignores or does badly.

        Errors: ConfigError for allowed_batch_sizes that do not increase strictly from 1 up, and for
        max_execution_batch_size without splitting.
        """
        sizes = self.allowed_batch_sizes
        if (sizes and sizes[0] < 1) or any(a >= b for a, b in pairwise(sizes)):
            raise ConfigError(f"allowed_batch_sizes {list(sizes)} must increase strictly from 1 up")
        if self.max_execution_batch_size is not None and not self.enable_large_batch_splitting:
            raise ConfigError("max_execution_batch_size has no effect without enable_large_batch_splitting")

    def to_text(self) -> str:
        """The file. Errors: ConfigError as of `check`."""
        self.check()
        message = m.BatchingParameters(
            allowed_batch_sizes=self.allowed_batch_sizes, pad_variable_length_inputs=self.pad_variable_length_inputs
        )
        for name in _WRAPPED:
            value = getattr(self, name)
            if value is not None:
                getattr(message, name).value = value
        if self.enable_large_batch_splitting:
            message.enable_large_batch_splitting.value = True
        return to_text(message)

    @classmethod
    def parse(cls, text: str, path: str = "") -> BatchingParameters:
        """Read a file. Errors: ConfigError for what is no text proto, and as of the constructor."""
        message = parse_text(m.BatchingParameters, text, path)
        wrapped = {name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)}
        return cls(
            **wrapped,
            allowed_batch_sizes=tuple(message.allowed_batch_sizes),
            pad_variable_length_inputs=message.pad_variable_length_inputs,
            enable_large_batch_splitting=message.enable_large_batch_splitting.value,
        )


_WRAPPED = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "thread_pool_name",
    "max_execution_batch_size",
)

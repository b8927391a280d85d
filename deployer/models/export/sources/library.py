"""Imports tensorflow and keras on first use, without their log output, and converts exceptions of model code."""

from __future__ import annotations

import errno
import functools
import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deployer.errors import DeployerError, ExportError
from deployer.extras import of_import, pip_line
from deployer.models.proof import reasons


@functools.cache
def tensorflow() -> Any:
    """The tensorflow package. Errors: ExportError when it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with muted():
            tf = importlib.import_module("tensorflow")
            tf.config.list_physical_devices()  # detects GPUs now, while messages about missing GPUs are suppressed
            return tf
    except ImportError as error:
        raise ExportError(
            "tensorflow is not installed",
            hint=f"{pip_line('tensorflow')}, or export in the image of the deployer",
        ) from error


@functools.cache
def keras() -> Any:
    """The keras package. Errors: ExportError when it is not installed."""
    tensorflow()
    return importlib.import_module("keras")


@contextmanager
def model_code(message: str, hint: str) -> Iterator[None]:
    """Wraps code of the model or its author, which can raise any exception."""
    try:
        yield
    except DeployerError:
        raise
    except ModuleNotFoundError as error:
        missing = of_import(error, ExportError)
        if missing is None:
            raise ExportError(message, cause=str(error), hint=hint) from error
        raise missing from error
    except Exception as error:
        text = str(error)
        if os.strerror(errno.ENOSPC) in text:  # TensorFlow wraps the error, with the path in front
            hint = "free space on the disk and try again"
        else:
            hint = reasons.remedy(text, hint)
        cause = f"{type(error).__name__}: {reasons.sentence(text)}"
        raise ExportError(message, cause=cause, hint=hint) from error


@contextmanager
def muted() -> Iterator[None]:
    """Suppress warnings, and stderr of native code: the import writes about missing GPUs at any log level.

    The stderr output is shown if the block fails.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as stderr, warnings.catch_warnings(action="ignore"):
        os.dup2(stderr.fileno(), 2)
        try:
            yield
        except BaseException:
            stderr.seek(0)
            os.write(real, stderr.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)

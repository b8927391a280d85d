"""Optional libraries: which extra of the distribution brings each of them, and what to say when one is missing."""

from __future__ import annotations

from importlib import metadata

from deployer.errors import DeployerError, ToolError

DISTRIBUTION = "tfserving-deployer"

EXTRAS = {
    "google_crc32c": ("export", "google-crc32c"),
    "grpc_health": ("gateway", "grpcio-health-checking"),
    "grpc_reflection": ("gateway", "grpcio-reflection"),
    "hdrh": ("experiment", "hdrhistogram"),
    "hpack": ("server", "hpack"),
    "httptools": ("gateway", "httptools"),
    "joblib": ("trees", "joblib"),
    "jwt": ("jwt", "pyjwt[crypto]"),
    "keras": ("export", "tensorflow"),
    "kubernetes": ("k8s", "kubernetes"),
    "lightgbm": ("trees", "lightgbm"),
    "matplotlib": ("experiment", "matplotlib"),
    "ml_dtypes": ("export", "tensorflow"),
    "PIL": ("images", "pillow"),
    "pyarrow": ("data", "pyarrow"),
    "redis": ("redis", "redis"),
    "skops": ("trees", "skops"),
    "sklearn": ("trees", "scikit-learn"),
    "tensorflow": ("export", "tensorflow"),
    "urllib3": ("k8s", "urllib3"),
    "uvicorn": ("gateway", "uvicorn"),
    "uvloop": ("server", "uvloop"),
    "xgboost": ("trees", "xgboost"),
}
"""Module to the extra that brings it, and the name of its own distribution."""


def pip_line(module: str) -> str:
    """The command that installs a module: its extra, or its own name where the deployer itself is not installed."""
    extra, own = EXTRAS[module]
    try:
        metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return f"pip install '{own}'" if "[" in own else f"pip install {own}"
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def of_import(error: ImportError, kind: type[DeployerError] = ToolError) -> DeployerError | None:
    """The error to show when an optional library is not installed; None when it is another import that failed."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module not in EXTRAS:
        return None
    return kind(f"this needs {EXTRAS[module][1]}, which is not installed", hint=pip_line(module))

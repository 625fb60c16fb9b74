"""What a result was made with, and when: versions, kind of machine, time."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_RECORDED_PACKAGES = (
    "interpdisc-core",
    "interpdisc",
    "numpy",
    "scipy",
    "torch",
    "torchvision",
    "onnxruntime",
    "zarr",
    "pillow",
    "prefect",
    "distributed",
)


def collect_environment() -> dict[str, Any]:
    """Versions of Python and of packages, and the kind of machine; no paths and no host names."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: package_version(name) for name in _RECORDED_PACKAGES},
    }


def package_version(package: str, default: str = "not installed") -> str:
    """The installed version of a package, or `default` if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return default


def utc_now(timespec: str = "seconds") -> str:
    """The current time in UTC, ISO 8601; for `timespec` see `datetime.isoformat`."""
    return datetime.now(UTC).isoformat(timespec=timespec)

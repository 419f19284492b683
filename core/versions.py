"""Which versions of what were at work, for reports and exports."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

TRAINING = 2  # raised when the same settings lead to other weights than before
PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "scikit-learn", "nibabel", "pydicom", "streamlit")


def versions() -> dict[str, str]:
    """Python's and those of the packages that are there."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

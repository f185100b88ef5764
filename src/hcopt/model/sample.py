"""Where the sample model lies: beside the sources in a checkout, inside the package in an installed wheel."""

from __future__ import annotations

from pathlib import Path


def sample_repository() -> Path:
    """The Triton model repository with the sample model."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "sample"
    return installed if installed.is_dir() else package.parent.parent / "model_repository"

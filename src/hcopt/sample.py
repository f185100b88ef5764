"""Where the sample model lies: beside the sources in a checkout, inside the package in an installed wheel."""

from __future__ import annotations

from pathlib import Path

MODEL_NAME = "HomeCreditDefaultModel"


def sample_folder() -> Path:
    """The sample model's folder, in a Triton model repository's layout."""
    package = Path(__file__).resolve().parent
    installed = package / "sample" / MODEL_NAME
    return installed if installed.is_dir() else package.parent.parent / "model_repository" / MODEL_NAME

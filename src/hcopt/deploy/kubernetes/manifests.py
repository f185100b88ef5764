"""Writes the manifests as YAML files with comments, ready for `kubectl apply -k`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hcopt.deploy.kubernetes.options import Autoscaler
from hcopt.deploy.kubernetes.plan import Plan
from hcopt.deploy.kubernetes.rendering import environment, write_files

_COMMON = ("deployment.yaml", "configmap.yaml", "service.yaml", "poddisruptionbudget.yaml", "servicemonitor.yaml")
_SCALING: Mapping[Autoscaler, tuple[str, ...]] = {"hpa": ("hpa.yaml",), "keda": ("scaledobject.yaml",)}
# For Helm, not for kubectl.
_VALUES: Mapping[Autoscaler, tuple[str, ...]] = {"hpa": ("prometheus-adapter-values.yaml",), "keda": ()}
_KUSTOMIZATION = "kustomization.yaml"


def render(plan: Plan, autoscaler: Autoscaler) -> dict[str, str]:
    """All files by their names."""
    templates = environment()
    resources = (*_COMMON, *_SCALING[autoscaler])
    names = (_KUSTOMIZATION, *resources, *_VALUES[autoscaler])
    return {
        name: templates.get_template(f"{name}.j2").render(plan=plan, resources=resources, autoscaler=autoscaler)
        for name in names
    }


def write_manifests(plan: Plan, autoscaler: Autoscaler, folder: Path) -> tuple[Path, ...]:
    """Writes the files, and removes those of the other autoscaler, which would fight with this one.

    Raises:
        OutputError: The folder cannot be written, or has such files from elsewhere.
    """
    other: Autoscaler = "keda" if autoscaler == "hpa" else "hpa"
    return write_files(render(plan, autoscaler), folder, stale=(*_SCALING[other], *_VALUES[other]))

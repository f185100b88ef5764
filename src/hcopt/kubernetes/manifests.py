"""A plan becomes YAML files with comments, ready for `kubectl apply -k`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hcopt.errors import OutputError
from hcopt.files import write_whole
from hcopt.kubernetes.options import Autoscaler
from hcopt.kubernetes.plan import Plan, Sourced

_COMMON = ("deployment.yaml", "configmap.yaml", "service.yaml", "poddisruptionbudget.yaml", "servicemonitor.yaml")
_SCALING: Mapping[Autoscaler, tuple[str, ...]] = {"hpa": ("hpa.yaml",), "keda": ("scaledobject.yaml",)}
# For Helm, not for kubectl.
_VALUES: Mapping[Autoscaler, tuple[str, ...]] = {"hpa": ("prometheus-adapter-values.yaml",), "keda": ()}
_FIRST_LINE = "# Made by: "
_KUSTOMIZATION = "kustomization.yaml"
# Source: YAML 1.1, 5.4, and the characters that 5.1 has no place for.
_YAML_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def render(plan: Plan, autoscaler: Autoscaler) -> dict[str, str]:
    """All files by their names."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hcopt.kubernetes"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["sourced"] = _sourced
    environment.filters["quoted"] = _quoted
    environment.filters["lines"] = _lines
    environment.filters["one_line"] = _one_line
    resources = (*_COMMON, *_SCALING[autoscaler])
    names = (_KUSTOMIZATION, *resources, *_VALUES[autoscaler])
    return {
        name: environment.get_template(f"{name}.j2").render(plan=plan, resources=resources, autoscaler=autoscaler)
        for name in names
    }


def write_manifests(plan: Plan, autoscaler: Autoscaler, folder: Path) -> tuple[Path, ...]:
    """Writes the files, and removes those of the other autoscaler, which would fight with this one.

    Raises:
        OutputError: The folder cannot be written, or has such files from elsewhere.
    """
    rendered = render(plan, autoscaler)
    other: Autoscaler = "keda" if autoscaler == "hpa" else "hpa"
    _check_ours(folder, (*rendered, *_SCALING[other], *_VALUES[other]))
    try:
        for name, text in rendered.items():
            write_whole(folder / name, text)
        for name in (*_SCALING[other], *_VALUES[other]):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write the manifests to {folder}: {error.strerror or error}", remedy="Give another folder as --out."
        ) from error
    return tuple(folder / name for name in rendered)


def _check_ours(folder: Path, names: Iterable[str]) -> None:
    """Only what an earlier call wrote is replaced."""
    for path in (folder / name for name in names):
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                ours = file.readline().startswith(_FIRST_LINE)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise OutputError(
                f"cannot read {path}: {error.strerror}", remedy="Give another folder as --out."
            ) from error
        if not ours:
            raise OutputError(
                f"{path} was not written by `hcopt kubernetes`, and would be overwritten",
                remedy="Give another folder as --out, or move that file away.",
            )


def _sourced(number: Sourced, *, text: bool = False) -> str:
    """The number and its comment; as a string where Kubernetes wants one."""
    value = _quoted(str(number.value)) if text else str(number.value)
    return f"{value}  # {number.source}"


def _quoted(text: str) -> str:
    """A YAML string in double quotes: JSON's are, but for line breaks that JSON does not know."""
    return _YAML_BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _one_line(text: object) -> str:
    """A text in a comment or a line of a block scalar, which a line break would end."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in str(text)).split())


def _lines(text: str, width: int) -> str:
    """A text inside a block scalar, indented but for its first line."""
    return ("\n" + " " * width).join(text.rstrip("\n").split("\n"))

"""Renders the Jinja templates, and writes the files; those of somebody else are never replaced."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hcopt.errors import OutputError
from hcopt.system.files import write_whole

if TYPE_CHECKING:
    import jinja2

    from hcopt.deploy.kubernetes.plan import Sourced

_FIRST_LINE = "# Made by: "
# Source: YAML 1.1, 5.4, and the characters that 5.1 has no place for.
_YAML_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def environment() -> jinja2.Environment:
    """The templates of this package, with the filters that keep any text one value and any number sourced."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("hcopt.deploy.kubernetes"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    found.filters["sourced"] = _sourced
    found.filters["quoted"] = _quoted
    found.filters["lines"] = _lines
    found.filters["one_line"] = _one_line
    return found


def write_files(rendered: Mapping[str, str], folder: Path, *, stale: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Writes texts by their names, and removes the stale ones.

    Raises:
        OutputError: The folder cannot be written, or has such files from elsewhere.
    """
    _check_ours(folder, (*rendered, *stale))
    try:
        for name, text in rendered.items():
            write_whole(folder / name, text)
        for name in stale:
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
    # Every line break that YAML 1.1 knows, not \n alone: what follows another one would end the block.
    return ("\n" + " " * width).join(text.rstrip("\n").splitlines())

"""The heavy part of a report in a process of its own: V8 draws, Typst lays out, and their memory goes with them.

What that process is given, and what it answers, are files. Without it hcopt's own process would have the memory of
both on top of a whole run's measurements; and a crash of either costs a report, which can be made again.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from hcopt.errors import OutputError
from hcopt.system import process

Work = Literal["svg", "png", "pdf"]

_LIMIT_S = 900.0


def drawn_apart(specs: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """The SVG of each Vega-Lite specification, by its name.

    Raises:
        OutputError: One cannot be drawn.
    """
    drawn: dict[str, str] = json.loads(_done("svg", {"specs": specs, "config": config}))
    return drawn


def pictured_apart(specs: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, bytes]:
    """The PNG of each, by its name; `options` are those of vl-convert.

    Raises:
        OutputError: One cannot be drawn.
    """
    drawn = json.loads(_done("png", {"specs": specs, "options": options}))
    return {name: base64.b64decode(image) for name, image in drawn.items()}


def typeset_apart(inputs: Mapping[str, str]) -> bytes:
    """The PDF of the report's template with these inputs.

    Raises:
        OutputError: It cannot be made.
    """
    return _done("pdf", inputs)


def _done(work: Work, given: Mapping[str, Any]) -> bytes:
    try:
        return _answer(work, given)
    except OSError as error:
        raise OutputError(
            f"cannot make a part of the report ({work}) among the temporary files: {error.strerror or error}",
            remedy="Make room in the folder of temporary files, or set TMPDIR to another.",
        ) from error


def _answer(work: Work, given: Mapping[str, Any]) -> bytes:
    with process.temporary_folder() as folder:
        asked, answer, log = folder / "asked.json", folder / "answer", folder / "log"
        asked.write_text(json.dumps(given), encoding="utf-8")
        # The same modules as here, wherever they were found; nothing else of the environment.
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"}
        argv = [sys.executable, "-m", __name__, work, str(asked), str(answer)]
        ended = process.run(argv, log=log, timeout_s=_LIMIT_S, env=environment, cwd=folder)
        if ended.returncode != 0:
            how = f"did not end within {_LIMIT_S:.0f} s" if ended.timed_out else f"ended with {ended.returncode}"
            said = process.last_lines(log, 1)
            raise OutputError(f"cannot make a part of the report ({work}): {said or how}")
        return answer.read_bytes()


def _svg(given: Mapping[str, Any]) -> bytes:
    from hcopt.report.charts.drawing import to_svg

    return json.dumps({name: to_svg(spec, given["config"]) for name, spec in given["specs"].items()}).encode()


def _png(given: Mapping[str, Any]) -> bytes:
    from hcopt.report.charts.drawing import to_png

    images = {name: to_png(spec, given["options"]) for name, spec in given["specs"].items()}
    return json.dumps({name: base64.b64encode(image).decode() for name, image in images.items()}).encode()


def _pdf(given: Mapping[str, Any]) -> bytes:
    from hcopt.report.render.typesetting import typeset

    return typeset(given)


_WORKS: Mapping[str, Callable[[Mapping[str, Any]], bytes]] = {"svg": _svg, "png": _png, "pdf": _pdf}


def _main() -> None:
    work, asked, answer = sys.argv[1:]
    try:
        result = _WORKS[work](json.loads(Path(asked).read_text(encoding="utf-8")))
    except (ValueError, OutputError) as error:
        # The last line of the log is what the other process says.
        sys.exit(" ".join(str(error).split()))
    Path(answer).write_bytes(result)


if __name__ == "__main__":
    _main()

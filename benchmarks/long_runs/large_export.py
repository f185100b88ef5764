"""Memory and time of reading a large perf_analyzer export, which is made here.

Usage: .venv/bin/python -m benchmarks.long_runs.large_export [--megabytes 2000] [--layout rows|tensors|bare] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks.long_runs.process_figures import peak_mb
from hcopt.store.measurements import read_export

Layout = Literal["rows", "tensors", "bare"]
# Values a request: those of the sample model, those of a small picture, none.
_VALUES: dict[Layout, int] = {"rows": 10, "tensors": 3 * 32 * 32, "bare": 0}
_START_NS = 1_795_399_834_058_891_103
# Requests that are made at once: so few that making them takes less memory than reading them.
_BATCHES: dict[Layout, int] = {"rows": 2000, "tensors": 10, "bare": 2000}


@dataclass(frozen=True)
class Figures:
    """What reading took; memory in MB (10⁶ bytes), `before_mb` with everything imported."""

    layout: str
    file_mb: float
    requests: int
    before_mb: float
    peak_mb: float
    seconds: float


def write_export(path: Path, *, size_bytes: int, layout: Layout) -> int:
    """An export of that size at least; returns its requests. As the real ones, it is not quite in order of sending."""
    count = 0
    with path.open("w", encoding="ascii") as file:
        file.write('{"experiments":[{"experiment":{"mode":"concurrency","value":8},"requests":[')
        while file.tell() < size_bytes:
            file.write("," if count else "")
            file.write(",".join(_requests(count, layout)))
            count += _BATCHES[layout]
        file.write('],"window_boundaries":[]}],"version":"2.51.0"}')
    return count


def _requests(first: int, layout: Layout) -> Iterator[str]:
    drawn = random.Random(0)
    values = ",".join(f"{drawn.gauss(0, 1):.16f}" for _ in range(_VALUES[layout]))
    tensors = f'"request_inputs":{{"input":[{values}]}},', ',"response_outputs":[{"output":[0.9999,0.0]}]'
    before, after = tensors if values else ("", "")
    for number in range(first, first + _BATCHES[layout]):
        sent = _START_NS + number * 20_000 + drawn.randrange(200_000)
        yield f'{{"timestamp":{sent},{before}"response_timestamps":[{sent + 3_000_000}]{after}}}'


def figures(megabytes: int, layout: Layout, folder: Path) -> Figures:
    export = folder / "export.json"
    requests = write_export(export, size_bytes=megabytes * 1_000_000, layout=layout)
    _warm_up(folder)
    before_mb, began_s = peak_mb(), time.perf_counter()
    found = read_export(export, warm_up_ratio=0.1)
    seconds = time.perf_counter() - began_s
    assert len(found.sent_ns) == requests
    return Figures(
        layout=layout,
        file_mb=export.stat().st_size / 1e6,
        requests=requests,
        before_mb=before_mb,
        peak_mb=peak_mb(),
        seconds=seconds,
    )


def _warm_up(folder: Path) -> None:
    """Imports what the reading imports."""
    small = folder / "small.json"
    write_export(small, size_bytes=1000, layout="rows")
    read_export(small, warm_up_ratio=0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--layout", choices=list(_VALUES), default="rows")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = figures(given.megabytes, given.layout, Path(folder))
    if given.json:
        print(json.dumps(asdict(found)))
    else:
        for name, value in asdict(found).items():
            print(f"{name:10} {value if isinstance(value, str) else format(value, ',.1f'):>14}")


if __name__ == "__main__":
    main()

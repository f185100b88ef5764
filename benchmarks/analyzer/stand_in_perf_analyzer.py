"""A program in the place of perf_analyzer: asks the stand-in for its answer, lives as long as told, writes the report.

Model Analyzer starts it for every point; so it needs nothing but the standard library.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Client
from pathlib import Path

ADDRESS = "HCOPT_STAND_IN"


@dataclass(frozen=True)
class Asked:
    """What of perf_analyzer's command line a recording can answer, and where the report goes."""

    client_batch_size: int
    concurrency: int
    report: Path


def asked(arguments: Sequence[str]) -> Asked:
    def value(option: str) -> str:
        return arguments[arguments.index(option) + 1]

    return Asked(int(value("-b")), int(value("--concurrency-range").split(":")[0]), Path(value("-f")))


def main() -> None:
    started = time.monotonic()
    wanted = asked(sys.argv[1:])
    with Client(os.environ[ADDRESS]) as connection:
        connection.send((wanted.client_batch_size, wanted.concurrency))
        text, process_s = connection.recv()
    time.sleep(max(0.0, process_s - (time.monotonic() - started)))
    wanted.report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""What a perf_analyzer that Model Analyzer starts answers with at once: what an interrupted run has measured at its
point, or a failure where Model Analyzer combines values that the plan leaves out.
"""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from pathlib import Path

from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.system.files import write_whole

_ANSWER = "answer.csv"
_MEASURE, _FAIL = "measure", "fail"
# Model Analyzer says what it profiles, then starts perf_analyzer, which waits for so many twentieths of a second. A
# second try at the same point gets no further answer, and measures.
_POLLS = 200


class Answers:
    """One file that says what the next perf_analyzer is to do; not even a folder where all is to be measured.

    Args:
        folder: For the file.
        known: What was measured, each point once.
        has_gaps: Whether the plan leaves out combinations of its values.
    """

    def __init__(self, folder: Path, known: Sequence[Measurement], *, has_gaps: bool = False) -> None:
        self.folder = folder
        self._known = {(one.variant.config_name, one.load): one for one in known}
        self._answers = bool(known) or has_gaps
        if self._answers:
            folder.mkdir()

    def give(self, variant: ModelConfigVariant | None, load: LoadPoint) -> bool:
        """Tells the perf_analyzer that is being started; returns whether it gets a recorded answer.

        Args:
            variant: None where the plan leaves it out.
            load: The point's.
        """
        if not self._answers:
            return False
        found = None if variant is None else self._known.get((variant.config_name, load))
        said = _FAIL if variant is None else _MEASURE if found is None else _report(found)
        write_whole(self.folder / _ANSWER, said)
        return found is not None

    def forget(self) -> None:
        """Takes back what nobody has asked for."""
        (self.folder / _ANSWER).unlink(missing_ok=True)

    def shell(self, folder: str) -> str:
        """The lines of a shell script that take an answer, where there is one, into the file `$report`."""
        if not self._answers:
            return ""
        answer = shlex.quote(f"{folder}/{_ANSWER}")
        return (
            "polls=0\n"
            f"while [ ! -e {answer} ] && [ $polls -lt {_POLLS} ]; do sleep 0.05; polls=$((polls + 1)); done\n"
            f"said=$(cat {answer} 2>/dev/null) || said={_MEASURE}\n"
            f"rm -f {answer}\n"
            'case "$said" in\n'
            f"  {_MEASURE}) ;;\n"
            f"  {_FAIL}) echo 'not measured: failed before, or left out'; exit 99 ;;\n"
            '  *) rm -f "$report"; printf "%s\\n" "$said" >"$report"; exit 0 ;;\n'
            "esac\n"
        )


def _report(measured: Measurement) -> str:
    """The measurement as perf_analyzer writes its CSV report, in µs; what was not kept is 0.

    Source: the reports of perf_analyzer 2.51 with `--verbose-csv`.
    """
    latency, rate = measured.latency, measured.throughput_infer_per_s
    if latency is None or rate is None:
        return _FAIL
    server = measured.server
    times = (
        (0, 0, 0, 0)
        if server is None
        else (server.queue_us, server.compute_input_us, server.compute_infer_us, server.compute_output_us)
    )
    percentiles = [
        1000 * (latency.avg_ms if value is None else value)
        for value in (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    ]
    row = {
        "Concurrency": measured.load.concurrency,
        "Inferences/Second": rate,
        "Client Send": 0,
        "Network+Server Send/Recv": 0,
        **dict(
            zip(
                ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output"),
                times,
                strict=True,
            )
        ),
        "Client Recv": 0,
        **dict(zip(("p50 latency", "p90 latency", "p95 latency", "p99 latency"), percentiles, strict=True)),
        "Avg latency": 1000 * latency.avg_ms,
        "request/response": 0,
        "response wait": 0,
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerow(row)
    return text.getvalue()

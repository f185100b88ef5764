"""A Model Analyzer that plays what a real one did: `tests/data/model_analyzer_1.58.0`.

It measured the default and two variants at concurrency 2 and 4, one perf_analyzer hung (config_0 at 4), and two
variants could not be loaded.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from hcopt.analysis.plan import plan_sweep
from hcopt.config.sections import SweepSection
from hcopt.records.measurement import SweepPlan
from hcopt.system.process import Finished
from tests.support import fakes
from tests.support.records import MODEL_NAME, default_variant

DATA = Path(__file__).parents[1] / "data" / "model_analyzer_1.58.0"
_PROFILING = re.compile(rf"Profiling {MODEL_NAME}_(\S+): concurrency=(\d+)")


def recorded_plan() -> SweepPlan:
    """What the recorded run was asked to measure."""
    sweep = SweepSection(
        max_batch_size=(8, 16),
        instance_count=(1,),
        max_queue_delay_us=(500,),
        concurrency=(2, 4),
        parameters={"intra_op_thread_count": (1, "two")},
    )
    return plan_sweep(sweep, default_variant(), model_name=MODEL_NAME, instance_kind="KIND_CPU")


@dataclass(frozen=True)
class RecordedSweep:
    """Plays the recorded output line by line, and writes what Model Analyzer and perf_analyzer wrote beside it.

    Attributes:
        lines: How many lines of the output are played.
        reports: Text in place of a recorded perf_analyzer report, by `<variant>_<concurrency>`.
        folders: Which recorded configuration lies under a variant's name, where it is another one.
        finished: How it ends.
    """

    lines: int | None = None
    reports: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    finished: Finished = fakes.WELL

    def __call__(self, call: fakes.Call) -> Finished:
        config = yaml.safe_load(call.file("--config-file").read_text())
        self._write_configurations(fakes.host_path(config["output_model_repository_path"]))
        captures = fakes.host_path(config["perf_analyzer_path"]).parent / "captures"
        for line in (DATA / "model_analyzer.log").read_text().splitlines()[: self.lines]:
            call.say(line)
            if found := _PROFILING.search(line):
                (captures / f"{len(list(captures.iterdir())):019d}.csv").write_text(
                    self._report("_".join(found.groups()))
                )
        self._write_report(fakes.host_path(config["export_path"]))
        return self.finished

    def _write_configurations(self, output_models: Path) -> None:
        for recorded in (DATA / "output_models").iterdir():
            source = DATA / "output_models" / self.folders.get(recorded.name, recorded.name)
            if source.exists():
                shutil.copytree(source, output_models / recorded.name)

    def _report(self, name: str) -> str:
        name = name.removeprefix("config_") if "default" in name else name
        file = DATA / "captures" / f"{name}.csv"
        return self.reports.get(name, file.read_text() if file.exists() else "")

    def _write_report(self, export: Path) -> None:
        html = export / "reports" / "summaries" / MODEL_NAME / "result_summary.html"
        html.parent.mkdir(parents=True)
        html.write_text("<html>")
        (export / "results").mkdir()
        shutil.copy(DATA / "metrics-model-inference.csv", export / "results")

"""What Model Analyzer is asked to do, against a golden file, and the perf_analyzer that it starts in between."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tritonclient.grpc.model_config_pb2 import ModelConfig

from hcopt.analysis.plan import plan_sweep
from hcopt.config.sections import SweepSection
from hcopt.measure.context import RunContext
from hcopt.measure.model_analyzer.config import analyzer_config
from hcopt.measure.model_analyzer.profiler import ModelAnalyzer, _write_recorder
from hcopt.measure.profiler import ProfileJob
from hcopt.model.triton_config import apply_variant, parse_text, to_json
from hcopt.records.json import JsonObject
from hcopt.records.measurement import SweepPlan
from hcopt.records.model import ModelConfigVariant
from tests.support import fakes
from tests.support.pbtxt import DEFAULT_TEXT
from tests.support.records import MODEL_NAME, default_variant

GOLDEN = Path(__file__).parents[3] / "data" / "analyzer.yaml"
RUN = Path("/run")


def plan(default: ModelConfigVariant | None = None, **sweep: object) -> SweepPlan:
    section = SweepSection.model_validate(sweep)
    return plan_sweep(section, default or default_variant(), model_name=MODEL_NAME, instance_kind="KIND_CPU")


def config(
    sweep: SweepPlan, *arguments: str, limit_ms: float | None = 50.0, base: ModelConfig | None = None
) -> JsonObject:
    job = ProfileJob(
        plan=sweep,
        server=fakes.FakeServer(tools=fakes.FakeTools([])),
        repository=RUN / "repository",
        folder=RUN,
        input_arguments=arguments,
        context=RunContext(),
        config_of=None if base is None else lambda variant: to_json(apply_variant(base, variant, "KIND_CPU")),
    )
    return analyzer_config(
        job,
        interval_ms=1000,
        latency_p99_limit_ms=limit_ms,
        work=RUN / "work",
        perf_analyzer=RUN / "work" / "perf_analyzer",
    )


def model_section(sweep: SweepPlan, *arguments: str, limit_ms: float | None = 50.0) -> JsonObject:
    section: JsonObject = config(sweep, *arguments, limit_ms=limit_ms)["profile_models"][MODEL_NAME]
    return section


def test_configuration_is_the_golden_one() -> None:
    written = yaml.safe_dump(config(plan(), "--input-data", "/inside/run/input.json"), sort_keys=False)
    assert written == GOLDEN.read_text(encoding="utf-8")


def test_profile_writes_its_configuration_into_the_run_s_folder(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    seen: list[JsonObject] = []

    def play(call: fakes.Call) -> fakes.Finished:
        assert call.file("--config-file") == tmp_path / "analyzer.yaml"
        seen.append(yaml.safe_load(call.file("--config-file").read_text()))
        assert os.access(fakes.host_path(seen[0]["perf_analyzer_path"]), os.X_OK)
        call.say(f"Profiling {MODEL_NAME}_config_default: concurrency=8")
        return fakes.WELL

    server = fakes.FakeServer(tools=fakes.FakeTools([play]))
    job = ProfileJob(
        plan=plan(),
        server=server,
        repository=tmp_path / "repository",
        folder=tmp_path,
        input_arguments=(),
        context=RunContext(),
    )
    with pytest.raises(Exception, match="without one measurement"):
        ModelAnalyzer(interval_ms=400, latency_p99_limit_ms=None).profile(replace(job, stall_s=0.5))
    # Each of perf_analyzer's windows has to outlast some stalls of the server.
    assert seen[0]["profile_models"][MODEL_NAME]["perf_analyzer_flags"]["measurement-interval"] == 2000
    assert seen[0]["model_repository"] == f"/inside{tmp_path}/repository"


@pytest.mark.parametrize(("limit_ms", "whole_ms"), [(50.0, 50), (2.5, 2), (2.999, 2), (0.4, 1)])
def test_limit_is_given_in_whole_milliseconds_and_never_none(limit_ms: float, whole_ms: int) -> None:
    assert model_section(plan(), limit_ms=limit_ms)["constraints"] == {"perf_latency_p99": {"max": whole_ms}}


def test_without_limit_there_is_no_constraint() -> None:
    assert "constraints" not in model_section(plan(), limit_ms=None)


def test_model_that_cannot_batch_is_swept_over_instances_only() -> None:
    section = model_section(plan(replace(default_variant(), max_batch_size=0), instance_count=[1, 4]))
    assert section["model_config_parameters"] == {"instance_group": [{"kind": "KIND_CPU", "count": [1, 4]}]}


def test_parameters_are_given_as_text_swept_ones_and_the_default_s_own() -> None:
    own = replace(default_variant(), parameters=(("z", "kept"),))
    section = model_section(plan(own, parameters={"b": [1, 2], "a": ["0"]}))
    parameters = section["model_config_parameters"]["parameters"]
    assert parameters == {
        "a": {"string_value": ["0"]},
        "b": {"string_value": ["1", "2"]},
        "z": {"string_value": ["kept"]},
    }
    assert list(parameters) == ["a", "b", "z"]  # those that stand earlier vary slower, as in the plan


def test_option_given_twice_becomes_a_list() -> None:
    flags = model_section(plan(), "--shape", "a:3", "--input-data", "x", "--shape", "b:4", "--shape", "c:5")
    assert flags["perf_analyzer_flags"]["shape"] == ["a:3", "b:4", "c:5"]
    assert flags["perf_analyzer_flags"]["input-data"] == "x"


def test_loads_are_given_as_two_lists() -> None:
    section = model_section(plan(concurrency=[32, 8], client_batch_size=[4, 1]))
    assert section["parameters"] == {"batch_sizes": [1, 4], "concurrency": [8, 32]}


def test_gpu_instances_are_not_cpu_only() -> None:
    sweep = replace(plan(), instance_kind="KIND_GPU")
    assert model_section(sweep)["cpu_only"] is False


STUB = """#!/bin/sh
printf '%s\\n' "$$" "$@" >"$OUT"
previous=
for argument in "$@"; do
  case $previous in -f|--latency-report-file) printf 'figures' >"$argument";; esac
  previous=$argument
done
"""


class _HostTools(fakes.FakeTools):
    """Tools on this very machine, so that the script can be run."""

    def __init__(self, program: Path) -> None:
        super().__init__([])
        self._program = program

    def path(self, host: Path) -> str:
        return str(host)

    @property
    def exports_tensors(self) -> bool:
        return False

    def program(self, tool: str) -> str:
        return str(self._program)


class Recorder:
    """The script in a folder of an odd name, with a stub in perf_analyzer's place."""

    def __init__(self, folder: Path) -> None:
        odd = folder / 'it\'s $HOME and `more` "odd"'
        self.captures = odd / "captures"
        self.captures.mkdir(parents=True)
        program = odd / "the program"
        program.write_text(STUB)
        program.chmod(0o755)
        self._script = _write_recorder(odd / "perf_analyzer", _HostTools(program), self.captures)
        self._out = folder / "out"
        self.folder = folder

    def run(self, *arguments: str) -> list[str]:
        """Returns the arguments that the program got."""
        environment = {**os.environ, "OUT": str(self._out)}
        process = subprocess.Popen([str(self._script), *arguments], cwd=self.folder, env=environment)
        assert process.wait(60) == 0
        pid, *given = self._out.read_text().splitlines()
        # The script has become the program: a kill reaches it, and no shell stays behind.
        assert int(pid) == process.pid
        return given

    def captured(self) -> list[str]:
        return [path.read_text() for path in sorted(self.captures.iterdir())]


@pytest.mark.parametrize("option", ["-f", "--latency-report-file"])
def test_recorder_keeps_the_report_that_model_analyzer_reads_and_removes(tmp_path: Path, option: str) -> None:
    recorder = Recorder(tmp_path)
    given = ["-m", "M", option, "a report.csv", "--verbose-csv"]
    assert recorder.run(*given) == given
    report = tmp_path / "a report.csv"
    assert report.read_text() == "figures"
    report.unlink()
    assert recorder.captured() == ["figures"]


def test_recorder_passes_arguments_on_as_they_are_and_keeps_nothing_without_a_report(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    given = ["a b", "$HOME", "`id`", '"', "'", "", "--x=y", "-F"]
    assert recorder.run(*given) == given
    assert recorder.captured() == []


def test_recorder_does_not_mix_a_report_with_one_that_was_left_behind(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.run("-f", "report.csv")
    (tmp_path / "report.csv").write_text("of a killed one")
    recorder.run("-f", "report.csv")
    assert recorder.captured() == ["of a killed one", "figures"]


def test_recorder_says_which_program_is_missing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    (recorder.captures.parent / "the program").unlink()
    ended = subprocess.run([str(recorder._script)], capture_output=True, check=False, text=True, timeout=60)
    assert ended.returncode == 127
    assert "the program" in ended.stderr


def test_preferred_batch_sizes_are_listed_where_a_variant_has_any() -> None:
    found = model_section(plan(max_batch_size=[4, 8], preferred_batch_size=[[], [2, 4]]))
    assert found["model_config_parameters"]["dynamic_batching"] == {
        "max_queue_delay_microseconds": [0, 500],
        "preferred_batch_size": [[], [2, 4]],
    }


def test_preferred_batch_sizes_of_the_default_are_not_lost() -> None:
    own = replace(default_variant(), preferred_batch_sizes=(4,))
    found = model_section(plan(own))
    assert found["model_config_parameters"]["dynamic_batching"]["preferred_batch_size"] == [[4]]


def test_preferred_batch_sizes_of_the_default_do_not_stay_where_no_variant_has_any() -> None:
    """Model Analyzer writes the grid over the default's, and a preferred size above max_batch_size does not load."""
    own = replace(default_variant(), preferred_batch_sizes=(16,))
    found = model_section(plan(own, max_batch_size=[4, 8]))
    assert found["model_config_parameters"]["dynamic_batching"]["preferred_batch_size"] == [[]]


def test_what_else_an_instance_group_says_is_a_grid_of_one_value_each() -> None:
    group = 'host_policy: "n" rate_limiter { priority: 2 resources [{ name: "R" count: 1 }, { name: "S" count: 2 }] }'
    base = parse_text(f"max_batch_size: 8 instance_group {{ count: 1 kind: KIND_CPU {group} }}")
    found = config(plan(), base=base)["profile_models"][MODEL_NAME]["model_config_parameters"]["instance_group"]
    assert found == [
        {
            "count": [1, 2],
            "kind": "KIND_CPU",
            "host_policy": "n",
            "rate_limiter": {"priority": 2, "resources": [[{"name": "R", "count": 1}, {"name": "S", "count": 2}]]},
        }
    ]


def test_files_of_the_model_are_the_slowest_dimension_and_the_models_own_has_no_name() -> None:
    section = SweepSection(max_batch_size=(8,), instance_count=(1,), max_queue_delay_us=(0,))
    swept = plan_sweep(
        section, default_variant(), model_name=MODEL_NAME, instance_kind="KIND_CPU", model_files=("int8.onnx",)
    )
    parameters = model_section(swept)["model_config_parameters"]
    assert next(iter(parameters.items())) == ("default_model_filename", ["", "int8.onnx"])
    assert "default_model_filename" not in model_section(plan())["model_config_parameters"]


def test_accelerators_are_alternatives_after_the_instances() -> None:
    base = parse_text(DEFAULT_TEXT)
    found = config(plan(execution_accelerator=["none", "openvino"]), base=base)["profile_models"][MODEL_NAME]
    parameters = found["model_config_parameters"]
    assert [*parameters][:2] == ["instance_group", "optimization"]
    assert parameters["optimization"] == {
        "execution_accelerators": {"cpu_execution_accelerator": [[], [{"name": "openvino"}]]}
    }


def test_accelerator_of_the_default_is_not_named() -> None:
    base = parse_text(DEFAULT_TEXT)
    found = config(plan(execution_accelerator=["none"]), base=base)["profile_models"][MODEL_NAME]
    assert "optimization" not in found["model_config_parameters"]

"""Everything that `hcopt doctor` looks at, in the order in which it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.doctor import machine, programs, services
from hcopt.doctor.findings import Finding, Probe, fault, find
from hcopt.errors import RuntimeStartError


def examine(config: Config, results: Path, *, fix: bool) -> Iterator[tuple[str, Finding]]:
    """Looks at one thing after the other; gives the name of each with what was found.

    Args:
        config: What a run would be asked to do.
        results: The folder for its results.
        fix: Whether to remove what killed runs have left.
    """
    docker_answers = True
    for probe in probes(config, results, fix=fix):
        if not docker_answers and probe.name in _DOCKERS_OWN:
            continue
        found = find(probe)
        yield probe.name, found
        docker_answers = docker_answers and not (probe.name == "Docker" and found.status != "ok")


_DOCKERS_OWN = ("images", "leftovers")


def probes(config: Config, results: Path, *, fix: bool) -> tuple[Probe, ...]:
    """All probes."""
    embedded = config.runtime.kind in ("auto", "embedded")
    measures_from_here = config.runtime.kind != "docker"
    return (
        Probe(name="Python", look=machine.look_at_python),
        Probe(name="platform", look=machine.look_at_platform),
        Probe(name="CPUs", look=lambda: machine.look_at_cpus(config.runtime.cpuset)),
        Probe(name="cores", look=lambda: machine.look_at_cores(config)),
        Probe(name="governor", look=machine.look_at_governor),
        Probe(name="steal", look=lambda: machine.look_at_steal(config.noise)),
        Probe(name="cgroup", look=machine.look_at_cgroup),
        Probe(name="disk", look=lambda: machine.look_at_disk(results)),
        Probe(name="Triton", look=_if_needed(programs.look_at_triton, needed=embedded)),
        Probe(name="OpenVINO", look=lambda: programs.look_at_openvino(needed=embedded and _sweeps_openvino(config))),
        Probe(name="perf_analyzer", look=_if_needed(programs.look_at_perf_analyzer, needed=measures_from_here)),
        Probe(name="Model Analyzer", look=_if_needed(programs.look_at_model_analyzer, needed=measures_from_here)),
        Probe(name="wkhtmltopdf", look=programs.look_at_wkhtmltopdf),
        Probe(name="Docker", look=lambda: services.look_at_docker(config)),
        Probe(name="images", look=lambda: services.look_at_images(config)),
        Probe(name="leftovers", look=lambda: services.look_at_leftovers(fix=fix)),
        Probe(name="MLflow", look=lambda: services.look_at_mlflow(config, results)),
        Probe(name="S3", look=lambda: services.look_at_s3(config)),
    )


def _sweeps_openvino(config: Config) -> bool:
    return any("openvino" in one.sweep.execution_accelerator for one in config.each())


def _if_needed(look: Callable[[], Finding], *, needed: bool) -> Callable[[], Finding]:
    """What the runtime that is asked for does not need is no error."""

    def looked() -> Finding:
        try:
            return look()
        except RuntimeStartError as error:
            return fault(error, "error" if needed else "warning")

    return looked

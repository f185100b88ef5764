"""Two configurations that are the same under two names, confirmed again and again: how often is one called better?

Each run is a whole confirmation on a real server, with fresh data and the rules of every run: the sample model's
default against a copy that differs in a parameter that nothing reads. The copy stands where a sweep's winner would.

    .venv/bin/python benchmarks/decisions/same_configuration.py --runs 20 --minutes 1.5
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.measure.confirmation import confirm_finalists
from hcopt.measure.context import RunContext
from hcopt.measure.window import open_runner
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.prepare import Prepared, prepare
from hcopt.model.repository import write_repository
from hcopt.records.measurement import LoadPoint
from hcopt.records.verdict import Confirmation, RankedVariant, Ranking
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime

SAMPLE = Path(__file__).parents[2] / "model_repository" / "HomeCreditDefaultModel"
UNREAD = (("hcopt_benchmark_copy", "1"),)


def same_under_two_names(prepared: Prepared, load: LoadPoint, limit_ms: float | None) -> tuple[Prepared, Ranking]:
    default = prepared.plan.default
    copy = replace(default, config_name=f"{prepared.artifact.name}_config_0", parameters=UNREAD)
    entries = tuple(
        # The rates only size the windows.
        RankedVariant(variant=variant, load=load, throughput_infer_per_s=rate, latency_p99_ms=1.0, feasible=True)
        for variant, rate in ((copy, 5001.0), (default, 5000.0))
    )
    plan = replace(prepared.plan, variants=(copy,))
    return replace(prepared, plan=plan), Ranking(ranked=entries, latency_p99_limit_ms=limit_ms, failed_count=0)


def confirmed(config: Config, prepared: Prepared, ranking: Ranking, folder: Path) -> Iterator[Confirmation]:
    """One confirmation after the other, on one server."""
    write_repository(folder / "repository", prepared.artifact, prepared.base.config)
    rows = folder / "input.json"
    write_perf_analyzer_json(prepared.load, rows)
    with EmbeddedRuntime().serve(folder / "repository", folder) as server, ModelControl(server.endpoint) as control:
        runner = open_runner(
            prepared,
            server,
            control,
            folder=folder,
            context=RunContext(),
            rows=rows,
            latency_p99_limit_ms=config.constraints.latency_p99_ms,
        )
        while True:
            yield confirm_finalists(runner, prepared.plan, ranking, config)


def row(number: int, found: Confirmation) -> str:
    change = found.improvement or found.runner_up_relation
    if change is None or change.throughput_ratio.ci_low is None:
        return f"| {number} | {found.verdict} | {found.block_count} | | | |"
    ratio, needed = change.throughput_ratio, change.blocks_to_decide
    return (
        f"| {number} | {found.verdict} | {found.block_count} | {ratio.estimate:.3f} "
        f"({ratio.ci_low:.3f}–{ratio.ci_high:.3f}) | {change.p_value:.3f} | {'' if needed is None else needed} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=1.5, help="longest confirmation")
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    config = load_config(overrides=[f"model.uri={SAMPLE}", f"confirmation.max_minutes={options.minutes}"])
    verdicts: Counter[str] = Counter()
    print("| run | verdict | blocks | throughput ratio (95 % interval) | p | blocks that would decide |")
    print("| ---: | --- | ---: | --- | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as name:
        prepared = prepare(config, into=Path(name) / "model", tracking_uri="")
        load = LoadPoint(concurrency=options.concurrency)
        prepared, ranking = same_under_two_names(prepared, load, config.constraints.latency_p99_ms)
        runs = islice(confirmed(config, prepared, ranking, Path(name)), options.runs)
        for number, found in enumerate(runs, start=1):
            verdicts[found.verdict] += 1
            print(row(number, found), flush=True)
    print(f"\n{dict(verdicts)}")


if __name__ == "__main__":
    main()

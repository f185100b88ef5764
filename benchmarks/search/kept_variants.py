r"""Whether a variant that stays loaded beside others measures as one that is loaded afresh and alone: a Markdown table.

Rounds of both, in turns; in each, windows as short as a search's. The ratio is kept / fresh over the rounds, with its
95 % interval.

.venv/bin/python -m benchmarks.search.kept_variants --set model.uri=model_repository/HomeCreditDefaultModel \
    --set sweep.instance_count=[1,2,3] --set sweep.max_queue_delay_us=[0,500,1000] --set sweep.intra_op_thread_count=[]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import geometric_mean

from benchmarks.support.live import Live, live
from hcopt.analysis.stats import ratio_interval
from hcopt.config.load import load_config
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.served_model import ServedModel
from hcopt.model.prepare import config_json
from hcopt.records.model import ModelConfigVariant

WINDOWS = 3
WINDOW_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=24)
    options = parser.parse_args()
    with live(load_config(Path("config.yaml"), overrides=options.set, environment={})) as server:
        variants = server.prepared.plan.all_variants
        looked_at = (variants[0], variants[-1])
        rates: dict[tuple[str, str], list[float]] = defaultdict(list)
        for number in range(options.rounds):
            both = _Both(server)
            for way in (both.fresh, both.kept) if number % 2 else (both.kept, both.fresh):
                for one in looked_at:
                    rates[one.config_name, way.__name__].append(way(one))
        instances = sum(one.instance_count for one in variants)
        print(f"{len(variants)} variants with {instances} instances beside one another\n")
        print("| variant | kept / fresh throughput | 95 % interval |\n| --- | ---: | --- |")
        for one in looked_at:
            ratio = ratio_interval(rates[one.config_name, "kept"], rates[one.config_name, "fresh"])
            print(f"| {one.config_name} | {ratio.estimate:.3f} | {ratio.ci_low:.3f}–{ratio.ci_high:.3f} |")


class _Both:
    """Geometric mean of the throughput of some windows of a variant, in either way."""

    def __init__(self, server: Live) -> None:
        self._server = server
        name, prepared = server.prepared.artifact.name, server.prepared
        self._served = ServedModel(
            server.control,
            name,
            lambda variant: config_json(prepared, variant),
            repository=server.repository,
            max_instances=server.server.max_instances,
        )
        self._perf_analyzer = replace(
            server.runner.perf_analyzer, model_name=lambda: self._served.name, server_times=self._served.watch
        )

    def fresh(self, variant: ModelConfigVariant) -> float:
        self._served.unload()
        return self._mean(variant, lambda: self._served.reload(variant))

    def kept(self, variant: ModelConfigVariant) -> float:
        others = self._server.prepared.plan.all_variants
        for other in others:
            self._served.load_or_reuse(other)

        def turn() -> None:
            # Each window after another variant's turn, as in a search.
            self._served.load_or_reuse(others[1])
            self._served.load_or_reuse(variant)

        return self._mean(variant, turn)

    def _mean(self, variant: ModelConfigVariant, turn: Callable[[], None]) -> float:
        rates = []
        for _ in range(WINDOWS):
            turn()
            load = self._server.prepared.plan.loads[-1]
            window = Window(variant=variant, load=load, expected_infer_per_s=3000, window_s=WINDOW_S, phase="sweep")
            measured = self._perf_analyzer.measure(window)
            if measured.throughput_infer_per_s is None:
                raise SystemExit(measured.error)
            rates.append(measured.throughput_infer_per_s)
        return geometric_mean(rates)


if __name__ == "__main__":
    main()

"""Model Analyzer's own Optuna search (its generator, search parameters, score and end) on a replay, in this process.

Only what builds model configurations for a server is left out: a proposal is its values. Measurements of a point that
was measured before are taken from there, as Model Analyzer does. Its score ignores constraints; its winner does not.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import optuna
from model_analyzer.config.generate.optuna_run_config_generator import OptunaRunConfigGenerator
from model_analyzer.config.generate.search_parameters import SearchParameters
from model_analyzer.config.input.config_command_profile import ConfigCommandProfile
from model_analyzer.constants import LOGGER_NAME

from benchmarks.replay import Replay
from benchmarks.rivals import POINT_S, START_S, SWITCH_S, Outcome, analyzer_window
from hcopt.ranking import rank
from hcopt.schema import LoadPoint, Measurement, ModelConfigVariant, SweepPlan

# Model Analyzer's report goes on with its three best configurations.
TOP = 3
_PERCENTAGES = ("min_percentage_of_search_space", "max_percentage_of_search_space")


@dataclass(frozen=True)
class _Model:
    """What Model Analyzer's search wants to know of a model."""

    plan: SweepPlan

    def model_name(self) -> str:
        return self.plan.model_name

    def parameters(self) -> dict[str, Any]:
        return {
            "batch_sizes": sorted({load.client_batch_size for load in self.plan.loads}),
            "concurrency": sorted({load.concurrency for load in self.plan.loads}),
            "request_rate": [],
        }

    def model_config_parameters(self) -> dict[str, Any]:
        variants = self.plan.variants
        return {
            "instance_group": [[{"kind": ["KIND_CPU"], "count": sorted({v.instance_count for v in variants})}]],
            "max_batch_size": sorted({v.max_batch_size for v in variants}),
            "dynamic_batching": [{"max_queue_delay_microseconds": sorted({v.max_queue_delay_us for v in variants})}],
        }

    def supports_batching(self) -> bool:
        return True

    def supports_dynamic_batching(self) -> bool:
        return True


@dataclass(frozen=True)
class _Proposal:
    variant: ModelConfigVariant
    load: LoadPoint

    def combined_model_variants_name(self) -> str:
        return self.variant.config_name


@dataclass(frozen=True)
class _Score:
    """A measurement as the score sees it: one objective, perf_throughput (ModelConfigMeasurement in Model Analyzer)."""

    throughput: float

    def compare_measurements(self, other: _Score) -> float:
        return (other.throughput - self.throughput) / ((other.throughput + self.throughput) / 2)


class _Generator(OptunaRunConfigGenerator):  # type: ignore[misc]
    """Model Analyzer's generator, whose proposals stay values."""

    def __init__(self, plan: SweepPlan, seed: int) -> None:
        config = ConfigCommandProfile()
        for name in ("optuna_min_trials", "optuna_max_trials", "optuna_early_exit_threshold", *_PERCENTAGES):
            field = config.get_config()[name]
            field.set_value(field.default_value())
        model = _Model(plan)
        parameters = {plan.model_name: SearchParameters(config=config, model=model)}
        self._plan = plan
        self._config = config
        self._models = [model]
        self._composing_models: list[Any] = []
        self._search_parameters = parameters
        self._composing_search_parameters: dict[str, Any] = {}
        self._last_measurement = None
        self._best_config_name = ""
        self._best_config_score = None
        self._best_trial_number = None
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))

    def _create_default_run_config(self) -> _Proposal:
        default = self._plan.default
        wanted = 2 * default.max_batch_size * default.instance_count
        return _Proposal(default, min(self._plan.loads, key=lambda load: abs(load.concurrency - wanted)))

    def _create_objective_based_run_config(self, objectives: Any, _: Any) -> _Proposal:
        values = objectives[self._plan.model_name]
        variant = next(
            v
            for v in self._plan.variants
            if (v.max_batch_size, v.instance_count, v.max_queue_delay_us)
            == (values["max_batch_size"], values["instance_group"], values["max_queue_delay_microseconds"])
            and v.parameters == self._parameters
        )
        load = LoadPoint(concurrency=values["concurrency"], client_batch_size=values["batch_sizes"])
        return _Proposal(variant, load)

    @property
    def _parameters(self) -> tuple[tuple[str, str], ...]:
        """It has no dimension for further parameters: they stay the default's, or the first ones that are swept."""
        swept = {v.parameters for v in self._plan.variants}
        default = self._plan.default.parameters
        return default if default in swept else self._plan.variants[0].parameters


def optuna_search(plan: SweepPlan, replay: Replay, *, limit_ms: float | None, seed: int) -> Outcome:
    """The best that was measured within the limit, after all loads of the three best configurations were."""
    logging.getLogger(LOGGER_NAME).setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known: dict[tuple[Any, LoadPoint], Measurement] = {}

    def measure(variant: ModelConfigVariant, load: LoadPoint) -> Measurement:
        place = (variant.settings, load)
        if place not in known:
            known[place] = analyzer_window(replay, variant, load)
        return known[place]

    generator, switches, before = _Generator(plan, seed), 0, None
    for proposal in generator.get_configs():
        switches += proposal.variant != before
        before = proposal.variant
        measured = measure(proposal.variant, proposal.load)
        generator.set_last_results([_Score(measured.throughput_infer_per_s or 0.0)])
    for entry in rank(plan, known.values(), latency_p99_limit_ms=limit_ms).ranked[:TOP]:
        switches += 1
        for load in plan.loads:
            measure(entry.variant, load)
    ranked = rank(plan, known.values(), latency_p99_limit_ms=limit_ms).feasible
    wall_s = START_S + replay.load_s + POINT_S * len(known) + SWITCH_S * switches
    first = ranked[0] if ranked else None
    return Outcome(first and first.variant, first and first.load, replay.load_s, wall_s, len(known))

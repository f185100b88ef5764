"""Which profiler measures and ranks a sweep: the only place that asks for `profiler.kind`."""

from __future__ import annotations

from hcopt.analysis.plan import sweep_interval_ms
from hcopt.config.sections import Config
from hcopt.measure.adaptive import Adaptive
from hcopt.measure.model_analyzer.profiler import ModelAnalyzer
from hcopt.measure.profiler import Profiler
from hcopt.measure.search.values import NOISE, SearchSettings
from hcopt.records.verdict import Noise

# Of the measurement interval: at 0.5 s perf_analyzer's processes are load for 83 % of their lives over a search.
_SEARCH_WINDOW_RATIO = 0.5
# perf_analyzer needs 0.06 s beside its load, whatever the load: from here on less than a seventh of its time.
MIN_WINDOW_S = 0.4
_MIN_NOISE_RATIO = 0.01


def choose_profiler(config: Config, noise: Noise | None = None) -> Profiler:
    """The configured profiler; `noise` is what the default showed against itself, where that was measured."""
    settings, limit_ms = config.profiler, config.constraints.latency_p99_ms
    noise_ratio = None if noise is None else noise.window_sd_ratio
    if settings.kind == "model-analyzer":
        interval_ms = sweep_interval_ms(settings.measurement_interval_ms, None if noise is None else noise.round_s)
        return ModelAnalyzer(interval_ms=interval_ms, latency_p99_limit_ms=limit_ms, noise_ratio=noise_ratio)
    return Adaptive(
        SearchSettings(
            latency_p99_limit_ms=limit_ms,
            window_s=max(MIN_WINDOW_S, _SEARCH_WINDOW_RATIO * settings.measurement_interval_ms / 1000),
            budget_s=None if settings.max_minutes is None else 60 * settings.max_minutes,
            seed=settings.seed,
            noise_ratio=NOISE if noise_ratio is None else max(_MIN_NOISE_RATIO, noise_ratio),
        )
    )

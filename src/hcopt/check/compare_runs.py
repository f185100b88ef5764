"""Compares two finished runs. Pure.

Ratios are B / A, and only given where both runs measured under the same conditions: elsewhere the figures stand alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hcopt.analysis.stats import unpaired_ratio
from hcopt.check.conclusion import Difference, Ratios, conclusion_of, remarks_on, why_no_ratio
from hcopt.records.measurement import Measurement
from hcopt.records.run import RunRecord, SentRows
from hcopt.records.verdict import ConfirmedVariant, Estimate

# Says nothing of the measured server; a difference is only mentioned.
_NO_CONDITIONS = ("hcopt_version",)
_WHY: Mapping[str, str] = {
    "runtime": "Containers, the embedded server and one that runs elsewhere have overheads of their own.",
    "backend": "Each has an overhead of its own; the Python-based one reaches a part of a native one's throughput.",
    "triton_version": "Another server may batch and schedule in another way.",
    "onnxruntime_version": "Another ONNX Runtime may compute the same model faster or slower.",
    "perf_analyzer_version": "Another load generator may send and count in another way.",
    "cpu_model": "Another CPU computes at another speed.",
    "cpu_count": "More CPUs serve more requests at once.",
    "cpuset": "The server had other CPUs, or shared them with the load generator in another way.",
    "memory_mb": "It is another machine, or has another memory limit.",
    "governor": "The frequency governor decides how fast the CPU runs.",
    "server_image": "Another image may hold other libraries.",
    "sdk_image": "Another image may hold another load generator.",
    "onnxruntime_thread_count": "Where config.pbtxt leaves them to ONNX Runtime, an instance has other threads.",
    "client_cpuset": "The load generator had other CPUs, or shared them with the server in another way.",
    "smt_siblings": "CPUs that share a physical core get in each other's way.",
    "numa_nodes": "Memory of another NUMA node is slower to reach.",
    "cpu_quota": "A CPU quota holds a server back that would use more.",
    "server_settings": "What the server does beside answering takes its time.",
    "model.sha256": "Another network takes another amount of work for each request.",
    "client_batch_size": "A request of more rows is more work.",
    "rows": "Rows of another shape are another amount of work, and so may be other values.",
}
# A figure's natural logarithm, by block.
_Logs = Mapping[int, float]
_WHY_UNNAMED = "Figures of different conditions cannot be told apart from those of different configurations."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """Two runs side by side.

    Attributes:
        a: The first run.
        b: The second run.
        differences: Conditions that differ; where there are any, there are no ratios.
        same_configuration: Whether both have a golden configuration, and it is the same, whatever its name.
        same_load: Whether both golden configurations were confirmed under the same load.
        ratios: None where a ratio would say nothing.
        conclusion: What the comparison comes to, in one or two sentences.
        remarks: What has to be known to read it rightly.
    """

    a: RunRecord
    b: RunRecord
    differences: tuple[Difference, ...]
    same_configuration: bool
    same_load: bool
    ratios: Ratios | None
    conclusion: str
    remarks: tuple[str, ...]

    @property
    def is_repeatability_check(self) -> bool:
        """Whether both runs measured the same, so that their difference is the runs' own."""
        return self.ratios is not None and self.same_configuration and self.same_load


def compare_runs(a: RunRecord, b: RunRecord) -> RunComparison:
    """Compares the golden configurations of two finished runs.

    Source: method.md, rule 3: see `Environment.same_conditions`.
    """
    differences = _differences(a, b)
    best_a, best_b = a.confirmation.best, b.confirmation.best
    ratios, same_configuration, same_load = None, False, False
    if best_a is not None and best_b is not None:
        ratios = None if differences else _ratios(a, best_a, b, best_b)
        same_configuration = _is_same(best_a, a.best_config_pbtxt, best_b, b.best_config_pbtxt)
        same_load = best_a.load == best_b.load
    repeated = same_configuration and same_load
    return RunComparison(
        a=a,
        b=b,
        differences=differences,
        same_configuration=same_configuration,
        same_load=same_load,
        ratios=ratios,
        conclusion=why_no_ratio(a, b, differences) if ratios is None else conclusion_of(ratios, repeated=repeated),
        remarks=remarks_on(a, b, ratios, same_configuration=same_configuration),
    )


# Conditions


def _differences(a: RunRecord, b: RunRecord) -> tuple[Difference, ...]:
    pairs: list[tuple[str, object, object]] = [
        (name, getattr(a.environment, name), getattr(b.environment, name))
        for name in a.environment.differing_conditions(b.environment, but=_NO_CONDITIONS)
    ]
    if a.model.sha256 != b.model.sha256:
        pairs.insert(0, ("model.sha256", a.model.sha256, b.model.sha256))
    if (rows_a := _rows_a_request(a)) != (rows_b := _rows_a_request(b)):
        pairs.append(("client_batch_size", rows_a, rows_b))
    if _digest(a.rows) != _digest(b.rows):
        pairs.append(("rows", a.rows, b.rows))
    return tuple(
        Difference(key=key, a=_text(of_a), b=_text(of_b), why=_WHY.get(key, _WHY_UNNAMED)) for key, of_a, of_b in pairs
    )


def _rows_a_request(run: RunRecord) -> str:
    """Rows a request, of the golden configuration's load or of all."""
    best = run.confirmation.best
    loads = [best.load] if best is not None else run.plan.loads
    return ", ".join(str(size) for size in sorted({load.client_batch_size for load in loads}))


def _digest(rows: SentRows | None) -> str | None:
    return None if rows is None else rows.sha256


def _text(value: object) -> str | None:
    return None if value is None else str(value)


# Ratios


def _ratios(a: RunRecord, best_a: ConfirmedVariant, b: RunRecord, best_b: ConfirmedVariant) -> Ratios | None:
    if "infeasible" in (best_a.feasibility, best_b.feasibility):
        return None
    throughput_a, throughput_b = _log_throughputs(a, best_a), _log_throughputs(b, best_b)
    if not throughput_a or not throughput_b:
        return None
    default_throughput, gain = _against_default(a, throughput_a, b, throughput_b)
    return Ratios(
        throughput=_ratio(throughput_b, throughput_a),
        latency_p99=_ratio(_log_p99s(b, best_b), _log_p99s(a, best_a)),
        default_throughput=default_throughput,
        gain_over_default=gain,
    )


def _against_default(
    a: RunRecord, golden_a: _Logs, b: RunRecord, golden_b: _Logs
) -> tuple[Estimate | None, Estimate | None]:
    """The default's own ratio, and that of golden / default; None where the two defaults are not the same."""
    default_a, default_b = a.confirmation.default, b.confirmation.default
    if default_a is None or default_b is None or default_a.load != default_b.load:
        return None, None
    logs_a, logs_b = _log_throughputs(a, default_a), _log_throughputs(b, default_b)
    same = _is_same(default_a, a.default_config_pbtxt, default_b, b.default_config_pbtxt)
    if not same or not logs_a or not logs_b:
        return None, None
    # Of the blocks that hold both.
    gains_a, gains_b = (
        {block: golden[block] - default[block] for block in golden if block in default}
        for golden, default in ((golden_a, logs_a), (golden_b, logs_b))
    )
    # Where a run's golden configuration is its default, every gain of it is 0.
    has_gain = gains_a and gains_b and any((*gains_a.values(), *gains_b.values()))
    return _ratio(logs_b, logs_a), _ratio(gains_b, gains_a) if has_gain else None


def _ratio(candidate: _Logs, baseline: _Logs) -> Estimate:
    return unpaired_ratio(tuple(candidate.values()), tuple(baseline.values()))


def _log_throughputs(run: RunRecord, confirmed: ConfirmedVariant) -> _Logs:
    windows = _windows(run, confirmed).items()
    return {block: math.log(m.throughput_infer_per_s) for block, m in windows if m.throughput_infer_per_s is not None}


def _log_p99s(run: RunRecord, confirmed: ConfirmedVariant) -> _Logs:
    windows = _windows(run, confirmed).items()
    return {block: math.log(m.latency.p99_ms) for block, m in windows if m.latency is not None}


def _windows(run: RunRecord, confirmed: ConfirmedVariant) -> dict[int, Measurement]:
    """The windows on which a confirmed variant's figures rest, by block.

    They are its last ones with figures: earlier blocks belong to a candidate that was refuted.
    """
    own = {
        m.block: m
        for m in run.measurements
        if m.phase == "confirmation" and not m.error and m.block is not None
        if (m.variant.config_name, m.load) == (confirmed.variant.config_name, confirmed.load)
    }
    last = sorted(own)[max(0, len(own) - confirmed.block_count) :]
    return {block: own[block] for block in last}


def _is_same(one: ConfirmedVariant, config_pbtxt: str | None, other: ConfirmedVariant, other_pbtxt: str | None) -> bool:
    """Whether two configurations are the same but for their names."""
    return one.variant.settings == other.variant.settings and _config_lines(config_pbtxt) == _config_lines(other_pbtxt)


def _config_lines(config_pbtxt: str | None) -> list[str]:
    """Without the model's name, which may differ between a registry and a folder."""
    return [line for line in (config_pbtxt or "").splitlines() if not line.startswith("name:")]

"""The pages after the first: finalists, measurements, failures, environment and noise, method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from statistics import fmean, stdev

from hcopt.report import figures
from hcopt.report.first_page import latency_cell, throughput_cell
from hcopt.report.headline import interval_inline, load_value, needed_blocks, settings_name
from hcopt.report.selection import batches, default_wins, short_name
from hcopt.report.text import Text
from hcopt.report.values import Failure, Finalist, MeasurementRow
from hcopt.schema import ConfirmedVariant, LoadPoint, Measurement, ModelConfigVariant, RunRecord


def runner_up_sentence(run: RunRecord, text: Text) -> str:
    """How the best configuration stands to the next one."""
    found = run.confirmation
    relation = found.runner_up_relation
    if found.best is None or found.runner_up is None or relation is None:
        return text["runner_up_none"]
    return text[f"runner_up_{relation.verdict}"].format(
        best=short_name(found.best.variant.config_name, run),
        other=short_name(found.runner_up.variant.config_name, run),
        change=figures.change(relation.throughput_ratio.estimate),
        interval=interval_inline(relation.throughput_ratio, text),
        needed=needed_blocks(relation, found.block_count, text),
    )


def finalists(run: RunRecord, text: Text) -> tuple[Finalist, ...]:
    """Best, runner-up and default as the confirmation measured them."""
    found = run.confirmation
    best_role = "role_default" if default_wins(run) else "role_best" if found.verdict == "better" else "role_candidate"
    rows = [(best_role, found.best), ("role_runner_up", found.runner_up)]
    rows += [] if default_wins(run) else [("role_default", found.default)]
    return tuple(_finalist(text[role], entry, run, text) for role, entry in rows if entry is not None)


def _finalist(role: str, entry: ConfirmedVariant, run: RunRecord, text: Text) -> Finalist:
    return Finalist(
        role=role,
        name=short_name(entry.variant.config_name, run),
        settings=settings_name(entry.variant, text),
        load=load_value(entry.load, text),
        throughput=throughput_cell(entry.throughput_infer_per_s, text),
        latency=latency_cell(entry.latency_p99_ms, text),
        feasible=text["yes" if entry.feasible else "no"],
    )


def measurement_rows(run: RunRecord, text: Text) -> tuple[MeasurementRow, ...]:
    """The sweep's measurements by rank, then by load; configurations without a rank last."""
    ranks: dict[Hashable, tuple[int, LoadPoint]] = {
        entry.variant.settings: (rank, entry.load) for rank, entry in enumerate(run.ranking.ranked, start=1)
    }
    last = len(ranks) + 1

    def place(m: Measurement) -> tuple[int, str, int, int]:
        rank = ranks[m.variant.settings][0] if m.variant.settings in ranks else last
        return (rank, m.variant.config_name, m.load.concurrency, m.load.client_batch_size)

    sweep = sorted((m for m in run.measurements if m.phase == "sweep"), key=place)
    return tuple(_measurement_row(m, ranks.get(m.variant.settings), run, text) for m in sweep)


def _measurement_row(
    m: Measurement, ranked: tuple[int, LoadPoint] | None, run: RunRecord, text: Text
) -> MeasurementRow:
    limit_ms, p99 = run.ranking.latency_p99_limit_ms, None if m.latency is None else m.latency.p99_ms
    feasible = "" if p99 is None or limit_ms is None else text["yes" if p99 <= limit_ms else "no"]
    throughput = m.throughput_infer_per_s
    return MeasurementRow(
        rank="" if ranked is None else str(ranked[0]),
        name=short_name(m.variant.config_name, run),
        batch=str(m.variant.max_batch_size),
        instances=str(m.variant.instance_count),
        delay=f"{m.variant.max_queue_delay_us:,}" if batches(m.variant) else text["off"],
        parameters=_parameters(m.variant),
        load=load_value(m.load, text),
        throughput=text["failed"] if throughput is None else figures.throughput(throughput),
        latency="" if p99 is None else figures.latency(p99),
        feasible=feasible,
        ranked=ranked is not None and ranked[1] == m.load,
    )


def _parameters(variant: ModelConfigVariant) -> str:
    return ", ".join(f"{key}={value}" for key, value in variant.parameters)


def failures(run: RunRecord, text: Text) -> tuple[Failure, ...]:
    """Measurements without figures, each with its reason."""
    return tuple(
        Failure(name=short_name(m.variant.config_name, run), load=load_value(m.load, text), reason=one_line(m.error))
        for m in run.measurements
        if m.error is not None
    )


def one_line(value: str) -> str:
    """A text from elsewhere without line breaks and control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in value).split())


def environment(run: RunRecord, text: Text) -> tuple[tuple[str, str], ...]:
    """Model, versions, machine and noise as (label, value) pairs."""
    env, unknown = run.environment, text["unknown"]
    cpu = text["fact_cpu_value"].format(model=env.cpu_model, count=env.cpu_count, cpuset=env.cpuset)
    elapsed = " · ".join(
        f"{text.get(f'phase_{phase}', phase)} {_duration(seconds, text)}" for phase, seconds in run.elapsed_s.items()
    )
    return (
        (text["fact_model"], f"{run.model.name} (sha256 {run.model.sha256[:12]})"),
        (text["fact_source"], run.model.source_uri),
        (text["fact_version"], run.model.version or unknown),
        (text["fact_runtime"], env.runtime),
        (text["fact_backend"], env.backend),
        (text["fact_triton"], env.triton_version),
        (text["fact_onnxruntime"], env.onnxruntime_version or unknown),
        (text["fact_perf_analyzer"], env.perf_analyzer_version or unknown),
        (text["fact_cpu"], cpu),
        (text["fact_governor"], env.governor or unknown),
        (text["fact_memory"], text["fact_memory_value"].format(value=f"{env.memory_mb:,}")),
        (text["fact_hcopt"], env.hcopt_version),
        *_noise(run, text),
        (text["fact_elapsed"], elapsed or unknown),
    )


def _duration(seconds: float, text: Text) -> str:
    if seconds < 59.95:
        return text["seconds"].format(seconds=f"{seconds:.1f}")
    return text["minutes"].format(minutes=round(seconds) // 60, seconds=round(seconds) % 60)


def _noise(run: RunRecord, text: Text) -> Iterator[tuple[str, str]]:
    """How far the blocks of one configuration lie apart, and what else used the machine."""
    blocks: dict[str, list[float]] = defaultdict(list)
    for m in run.measurements:
        if m.phase == "confirmation" and m.throughput_infer_per_s is not None:
            blocks[m.variant.config_name].append(m.throughput_infer_per_s)
    found = {name: stdev(values) / fmean(values) for name, values in blocks.items() if len(values) > 1}
    if found:
        name = run.plan.default.config_name if run.plan.default.config_name in found else next(iter(found))
        value = text["fact_noise_value"].format(
            name=short_name(name, run), percent=f"{found[name]:.1%}", blocks=len(blocks[name])
        )
        yield text["fact_noise"], value
    for label, ratios in (
        ("fact_steal", [m.steal_ratio for m in run.measurements if m.steal_ratio is not None]),
        ("fact_client", [m.client_cpu_ratio for m in run.measurements if m.client_cpu_ratio is not None]),
    ):
        if ratios:
            value = text["fact_ratio_value"].format(mean=f"{fmean(ratios):.1%}", highest=f"{max(ratios):.1%}")
            yield text[label], value


def method(run: RunRecord, text: Text) -> tuple[str, ...]:
    """How this run measured and decided."""
    by_phase = {
        phase: ", ".join(sorted({m.profiler for m in run.measurements if m.phase == phase}))
        for phase in ("sweep", "confirmation")
    }
    sweep = text["method_sweep"].format(
        profilers=by_phase["sweep"], variants=len(run.plan.all_variants), loads=len(run.plan.loads)
    )
    if run.confirmation.best is None:
        return (sweep, text["method_no_confirmation"])
    confirmation = text["method_confirmation"].format(
        profilers=by_phase["confirmation"], blocks=run.confirmation.block_count
    )
    verdict = text["method_verdict"].format(alpha=f"{run.alpha:g}", zone=f"{100 * run.indifference_ratio:g}%")
    return (sweep, confirmation, text["method_interval"], verdict)

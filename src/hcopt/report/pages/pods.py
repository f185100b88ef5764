"""From one pod to many: what one pod carries, the autoscaler's target, and when N pods carry N times as much. Pure.

All figures are those of `hcopt capacity` and `hcopt kubernetes` with their usual options.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from hcopt.deploy.capacity import (
    USUAL_GROWTH,
    Reaction,
    lower_bound,
    parse_growth,
    pending_target,
    plan_replicas,
    sustained,
    target_rate,
    usual_reaction,
)
from hcopt.deploy.kubernetes.envelope import Condition, assumptions, threads
from hcopt.deploy.kubernetes.options import Options
from hcopt.deploy.kubernetes.plan import quantity
from hcopt.deploy.scaling import Scaling
from hcopt.errors import ConfigError
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity
from hcopt.report import figures
from hcopt.report.facts.names import short_name
from hcopt.report.values import Cell, Figure, Section, Table
from hcopt.words import Text

_EXAMPLES = 5
_STEPS = (1, 2, 5)
_RESULTS = "results"


def pod_sections(run: RunRecord, scaling: Scaling | None, text: Text) -> tuple[Section, ...]:
    """The sections on it: what one pod carries and how many a load takes; the conditions, and how to go on.

    Args:
        run: The run.
        scaling: What `hcopt scale-check` has measured.
        text: The table of a language.
    """
    try:
        found = sustained(run)
    except ConfigError:
        return (_without_capacity(run, text),)
    return _scaling(run, found, text), _linearity(run, found, scaling, text)


def example_loads(capacity_infer_per_s: float) -> tuple[float, ...]:
    """Round loads (1, 2, 5, 10 …) from what one pod carries on: nobody has told the run its load."""
    decade = 1.0
    while decade * 10 <= capacity_infer_per_s:
        decade *= 10
    rounds = [step * decade * 10.0**power for power in range(4) for step in _STEPS]
    return tuple(load for load in rounds if load >= capacity_infer_per_s)[:_EXAMPLES]


def _without_capacity(run: RunRecord, text: Text) -> Section:
    """That nothing can be planned, and what to do."""
    if run.confirmation.best is None:
        lines = (text["pods_no_best"], text["pods_no_best_remedy"])
    elif run.capacity is None:
        unlimited = run.ranking.latency_p99_limit_ms is None
        lines = (text["pods_unchecked"], text["pods_no_limit_remedy" if unlimited else "pods_unchecked_remedy"])
    else:
        limit = figures.limit(run.capacity.latency_p99_limit_ms)
        lines = (text["pods_no_rate"].format(limit=limit), text["pods_no_rate_remedy"])
    commands = ("hcopt profile --set capacity.max_minutes=5",) if run.confirmation.best is not None else ()
    return Section(name="scaling", title=text["section_scaling"], lines=lines, commands=commands)


def _scaling(run: RunRecord, found: Capacity, text: Text) -> Section:
    reaction = usual_reaction(run)
    lower, target = lower_bound(found), target_rate(lower_bound(found), reaction)
    lines = (
        text["pods_vertical"].format(
            name=short_name(found.config_name, run),
            cores=run.environment.cpu_count,
            capacity=figures.rate(lower),
            limit=figures.limit(found.latency_p99_limit_ms),
        ),
        text["pods_horizontal"].format(target=figures.rate(target)),
    )
    return Section(
        name="scaling",
        title=text["section_scaling"],
        lines=lines,
        facts=tuple(_facts(found, reaction, target, text)),
        table=_pods_table(lower, target, run.environment.cpu_count, text),
        note=text["pods_note"],
        figures=(Figure(chart="pod", caption=text["pods_caption"]),),
    )


def _facts(found: Capacity, reaction: Reaction, target: float, text: Text) -> Iterator[tuple[str, str]]:
    headroom = f"{reaction.headroom_ratio:.3f}"
    yield text["pods_target"], text["pods_target_value"].format(quantity=quantity(target), headroom=headroom)
    why = text["pods_why_value"].format(
        tolerance=figures.share(reaction.tolerance_ratio),
        reaction=f"{reaction.total_s:g}",
        growth=figures.rough(reaction.growth.ratio_per_s * reaction.total_s),
        growth_text=USUAL_GROWTH,
    )
    yield text["pods_why"], why
    parts = text["pods_reaction_value"].format(
        scrape=f"{reaction.scrape_interval_s:g}",
        window=f"{reaction.rate_window_s:g}",
        sync=f"{reaction.sync_period_s:g}",
        start=f"{reaction.pod_start_s:g}",
    )
    yield text["pods_reaction"], parts
    yield text["pods_guard"], text["pods_guard_value"].format(pending=pending_target(found))


def _pods_table(lower: float, target: float, cpus: int, text: Text) -> Table:
    rows = []
    for load in example_loads(lower):
        pods = plan_replicas(target, base_infer_per_s=load, peak_infer_per_s=load).max_replicas
        values = (figures.whole_throughput(load), f"{pods:,}", f"{pods * cpus:,}", figures.throughput(load / pods))
        rows.append(tuple(Cell(value=value) for value in values))
    header = tuple(text[f"pods_column_{key}"] for key in ("load", "pods", "cpus", "each"))
    return Table(header=header, rows=tuple(rows), word_columns=0)


def _linearity(run: RunRecord, found: Capacity, scaling: Scaling | None, text: Text) -> Section:
    loads = example_loads(lower_bound(found))
    base, peak = loads[0], loads[-1]
    options = Options(
        base_infer_per_s=base, peak_infer_per_s=peak, growth=parse_growth(USUAL_GROWTH), growth_text=USUAL_GROWTH
    )
    assumed = frozenset(one.condition for one in assumptions(run, options, scaling))
    header = tuple(text[f"linearity_column_{key}"] for key in ("condition", "manifests", "here"))
    return Section(
        name="linearity",
        title=text["section_linearity"],
        lines=(_linear(run, scaling, assumed, text),),
        table=Table(header=header, rows=tuple(_conditions(run, assumed, text)), word_columns=3),
        note=text["linearity_note"],
        commands=_commands(run, base, peak),
    )


def _linear(run: RunRecord, scaling: Scaling | None, assumed: frozenset[Condition], text: Text) -> str:
    if scaling is None:
        return text["linearity_assumed"]
    if scaling.cpus_per_server != run.environment.cpu_count:
        return text["linearity_other"].format(measured=scaling.cpus_per_server, cores=run.environment.cpu_count)
    key = "linearity_not_shown" if "scaling" in assumed else "linearity_measured"
    bounds = text["range"].format(low=f"{scaling.ci_low:.3f}", high=f"{scaling.ci_high:.3f}")
    return text[key].format(servers=scaling.servers, ratio=f"{scaling.ratio:.3f}", range=bounds)


def _conditions(run: RunRecord, assumed: frozenset[Condition], text: Text) -> Iterator[tuple[Cell, ...]]:
    """A row a condition: what the manifests ask for, and whether it is measured."""
    environment = run.environment
    words: Mapping[str, object] = {
        "backend": environment.backend,
        "onnxruntime": environment.onnxruntime_version,
        "cpu": environment.cpu_model,
        "cores": environment.cpu_count,
        "threads": threads(run) or environment.cpu_count,
    }
    rows: Mapping[str, set[Condition] | None] = {
        "isolation": {"exclusive CPUs"},
        "independence": {"scaling"},
        "balance": None,
        "server": {"backend", "image"},
        "cpu": {"cpu"},
        "threads": {"threads"},
        "choice": {"verdict"},
    }
    for name, conditions in rows.items():
        stands = "assumed" if conditions is None or conditions & assumed else "measured"
        if name == "choice" and stands == "measured":
            continue
        same = "own" if name == "server" and environment.backend.implementation == "hcopt-native" else "same"
        key = f"linearity_{name}_{'here' if stands == 'assumed' else same}"
        detail = text.get(key, "").format(**words)
        asked = text[f"linearity_{name}_asked"].format(**words)
        yield (
            Cell(value=text[f"linearity_{name}"]),
            Cell(value=asked),
            Cell(value=text[f"stands_{stands}"], detail=detail),
        )


def _commands(run: RunRecord, base: float, peak: float) -> tuple[str, ...]:
    results = run.folder.parent.parent
    reference = run.run_id if results.name == _RESULTS else f"{run.run_id} --output {shlex.quote(str(results))}"
    least, most = (figures.whole_throughput(rate).replace(",", "") for rate in (base, peak))
    manifests = f"hcopt kubernetes {reference} --base {least} --peak {most} --growth {USUAL_GROWTH} --out deploy"
    return (
        *((manifests,) if run.plan.instance_kind == "KIND_CPU" else ()),
        f"hcopt capacity {reference} --rate {most}",
        f"hcopt scale-check {reference}",
    )

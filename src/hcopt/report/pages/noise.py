"""How noisy the machine was, and what difference it can therefore resolve. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from statistics import fmean, stdev

from hcopt.analysis.view import Pairing
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Noise
from hcopt.report import figures
from hcopt.report.facts.insights import exceeded_line
from hcopt.report.facts.names import load_name, short_name
from hcopt.report.values import Section
from hcopt.words import Text


def noise_section(run: RunRecord, pair: Pairing, text: Text) -> Section:
    """The section on it."""
    return Section(
        name="noise",
        title=text["section_noise"],
        lines=noise_lines(run, pair, text),
        facts=tuple(_facts(run, text)),
    )


def noise_lines(run: RunRecord, pair: Pairing, text: Text) -> tuple[str, ...]:
    """What the A/A measurement found, and what it means for this run's verdict."""
    found = run.noise
    if found is None:
        return (text["noise_unknown"],)
    lines = [
        text["noise_resolvable"].format(difference=figures.rough(found.resolvable_ratio), blocks=found.planned_blocks)
    ]
    unresolved = _unresolved(found, run, pair, text)
    lines += [unresolved] if unresolved else []
    lines.append(
        text["noise_measured"].format(
            blocks=found.block_count,
            load=load_name(found.load, text),
            block=figures.rough(found.block_sd_ratio),
            pair=figures.rough(found.pair_sd_ratio),
        )
    )
    lines.append(exceeded_line(run, text) or text["noise_within"])
    return tuple(lines)


def _unresolved(found: Noise, run: RunRecord, pair: Pairing, text: Text) -> str | None:
    """That an undecided difference is smaller than what this machine resolves."""
    if run.confirmation.verdict != "undecided" or pair.comparison is None:
        return None
    ratio = pair.comparison.throughput_ratio.estimate
    if abs(math.log(ratio)) >= math.log1p(found.resolvable_ratio):
        return None
    return text["noise_unresolved"].format(change=figures.change(ratio))


def _facts(run: RunRecord, text: Text) -> Iterator[tuple[str, str]]:
    """How far the blocks of one configuration lie apart, and what else used the machine."""
    blocks = _block_throughputs(run)
    if blocks:
        name = run.plan.default.config_name if run.plan.default.config_name in blocks else next(iter(blocks))
        values = blocks[name]
        value = text["fact_noise_value"].format(
            name=short_name(name, run), percent=figures.rough(stdev(values) / fmean(values)), blocks=len(values)
        )
        yield text["fact_noise"], value
    yield from _shares("fact_steal", [m.steal_ratio for m in run.measurements], text)
    yield from _shares("fact_throttled", [m.throttled_ratio for m in run.measurements], text)
    yield from _shares("fact_client", [m.client_cpu_ratio for m in run.measurements], text)


def _shares(label: str, ratios: list[float | None], text: Text) -> Iterator[tuple[str, str]]:
    known = [ratio for ratio in ratios if ratio is not None]
    if known:
        value = text[f"{label}_value"].format(mean=figures.rough(fmean(known)), highest=figures.rough(max(known)))
        yield text[label], value


def _block_throughputs(run: RunRecord) -> dict[str, list[float]]:
    """By name, at each configuration's own load, where there are two blocks at least."""
    found: dict[str, list[float]] = defaultdict(list)
    finalists = (run.confirmation.best, run.confirmation.default, run.confirmation.runner_up)
    loads = {entry.variant.config_name: entry.load for entry in finalists if entry is not None}
    for m in run.measurements:
        name = m.variant.config_name
        if m.phase == "confirmation" and m.throughput_infer_per_s is not None and loads.get(name, m.load) == m.load:
            found[name].append(m.throughput_infer_per_s)
    return {name: values for name, values in found.items() if len(values) > 1}

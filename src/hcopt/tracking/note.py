"""A run becomes the description that MLflow shows over its figures, in Markdown. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hcopt.records.run import RunRecord
from hcopt.records.verdict import ConfirmedVariant, Estimate, Feasibility
from hcopt.words.notes import sentence

_KEPT: Mapping[Feasibility, str] = {"feasible": "kept", "infeasible": "missed", "undecided": "not shown to be kept"}
# MLflow's page sets the columns of a table without any space between them.
_GAP = " &emsp;"


def run_note(run: RunRecord) -> str:
    """The description over the run's figures, in Markdown: verdict, what to deploy against the default, the command."""
    found = run.confirmation
    roles = (("default", found.default), (_best_name(run), found.best))
    sides = [(name, side) for name, side in roles if side is not None]
    parts = [f"**{found.verdict.replace('_', ' ')}**: {_plain(sentence(found.reason))}"]
    if sides:
        parts.append(_table(sides, run))
    # A longer fence than any in the command.
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", run.command)), default=0))
    parts.append(f"{fence}sh\n{run.command}\n{fence}")
    return "\n\n".join(parts)


def _table(sides: Sequence[tuple[str, ConfirmedVariant]], run: RunRecord) -> str:
    limit_ms = run.ranking.latency_p99_limit_ms
    rows: dict[str, list[str]] = {
        "configuration": [_plain(side.variant.config_name.removeprefix(f"{run.model.name}_")) for _, side in sides],
        "max batch size": [str(side.variant.max_batch_size) for _, side in sides],
        "instances": [str(side.variant.instance_count) for _, side in sides],
        "queue delay (µs)": [str(side.variant.max_queue_delay_us) for _, side in sides],
        "concurrency": [str(side.load.concurrency) for _, side in sides],
        "throughput (infer/s)": [_interval(side.throughput_infer_per_s, ",.0f") for _, side in sides],
        "p99 latency (ms)": [_interval(side.latency_p99_ms, ".2f") for _, side in sides],
        **({} if limit_ms is None else {f"p99 limit {limit_ms:g} ms": [_KEPT[side.feasibility] for _, side in sides]}),
    }
    head = ["| |" + "".join(f"{_GAP}{name} |" for name, _ in sides), "| --- |" + " --- |" * len(sides)]
    return "\n".join(
        [*head, *(f"| {label} |{''.join(f'{_GAP}{cell} |' for cell in cells)}" for label, cells in rows.items())]
    )


def _best_name(run: RunRecord) -> str:
    return "candidate, not proven" if run.confirmation.verdict == "undecided" else "best"


def _interval(value: Estimate, form: str) -> str:
    if value.ci_low is None or value.ci_high is None:
        return f"{value.estimate:{form}}"
    return f"{value.estimate:{form}} ({value.ci_low:{form}} to {value.ci_high:{form}})"


def _plain(text: str) -> str:
    """Text in which nothing is Markdown's or a table's."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(text.split()))

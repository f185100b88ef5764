"""How the run measured and decided, and what that does not cover. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hcopt.records.run import RunRecord
from hcopt.report.facts.limit import ALLOWED
from hcopt.report.pages.search_path import search_windows
from hcopt.words import Text


def method_lines(run: RunRecord, text: Text) -> Iterator[str]:
    """How this run measured and decided."""
    if run.noise is not None:
        yield text["method_noise"]
    yield _sweep(run, text)
    if run.confirmation.best is None:
        yield text["method_no_confirmation"]
        return
    found = run.confirmation
    yield text["method_confirmation"].format(profilers=_profilers(run, "confirmation"), blocks=found.block_count)
    yield text["method_interval"]
    if found.best is not None and found.best.miss_ratio is not None:
        yield text["method_limit"].format(allowed=ALLOWED)
    if run.capacity is not None:
        yield text["method_open_loop"]
    looks = text["method_looks"].format(looks=found.look_count) if found.look_count > 1 else ""
    yield text["method_verdict"].format(alpha=f"{run.alpha:g}", zone=f"{100 * run.indifference_ratio:g}%", looks=looks)
    yield text["method_literature"]


def _sweep(run: RunRecord, text: Text) -> str:
    words = {
        "profilers": _profilers(run, "sweep"),
        "variants": len(run.plan.all_variants),
        "loads": len(run.plan.loads),
    }
    if run.decisions:
        return text["method_search"].format(windows=search_windows(run), **words)
    return text["method_sweep"].format(**words)


def limit_lines(run: RunRecord, text: Text) -> tuple[str, ...]:
    """What the method does not cover."""
    keys = ["limit_scope", "limit_time", "limit_choice", "limit_closed_loop", "limit_client", "limit_instances"]
    if run.capacity is not None:
        keys.insert(4, "limit_poisson")
    return tuple(text[key] for key in keys)


def _profilers(run: RunRecord, phase: str) -> str:
    return ", ".join(sorted({m.profiler for m in run.measurements if m.phase == phase}))

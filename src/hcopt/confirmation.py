"""Finalists of the sweep, measured again side by side, become a claim. Pure but for the `measure` it is given.

The sweep's figures play no part in the claim: a maximum over noisy measurements is too good to be true.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from hcopt import statistics
from hcopt.config import ConfirmationSection
from hcopt.schema import (
    Comparison,
    Confirmation,
    ConfirmedVariant,
    Estimate,
    LoadPoint,
    Measurement,
    ModelConfigVariant,
    RankedVariant,
    Verdict,
)

# Best against default, best against runner-up: the family over which α is kept, whether or not both take place.
COMPARISONS = 2

Measure = Callable[[ModelConfigVariant, LoadPoint, int], Measurement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalists:
    """Who is measured again: distinct configurations, each at its own best load in the sweep."""

    best: RankedVariant
    default: RankedVariant | None
    runner_up: RankedVariant | None

    @property
    def entries(self) -> tuple[RankedVariant, ...]:
        """Each configuration once."""
        found = {e.variant.settings: e for e in (self.best, self.default, self.runner_up) if e is not None}
        return tuple(found.values())

    @property
    def default_is_best(self) -> bool:
        """Whether the sweep's winner is the user's own configuration."""
        return self.default is not None and self.best.variant.settings == self.default.variant.settings


def choose_finalists(
    feasible: Sequence[RankedVariant], default: RankedVariant | None, *, excluded: Iterable[str] = ()
) -> Finalists | None:
    """Winner, runner-up and default; None where no feasible variant is left.

    Args:
        feasible: The feasible variants, best first.
        default: The default's entry, feasible or not.
        excluded: Names of variants that an earlier confirmation found infeasible.
    """
    left = [entry for entry in feasible if entry.variant.config_name not in set(excluded)]
    if not left:
        return None
    others = [e for e in left[1:] if default is None or e.variant.settings != default.variant.settings]
    return Finalists(best=left[0], default=default, runner_up=others[0] if others else None)


def run_blocks(
    finalists: Finalists,
    measure: Measure,
    *,
    blocks: range,
    max_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Measurement]:
    """Measures every finalist once a block, in orders that balance: six blocks use all six orders of three.

    `blocks` numbers them; a further round goes on with the numbers, since its data are new. Stops before the block
    that would not end within `max_s` seconds if it took as long as the longest so far.
    """
    orders = list(permutations(finalists.entries))
    started, longest_s = clock(), 0.0
    for block in blocks:
        block_started = clock()
        if block_started - started + longest_s > max_s:
            return
        for entry in orders[block % len(orders)]:
            yield measure(entry.variant, entry.load, block)
        longest_s = max(longest_s, clock() - block_started)


def decide(
    finalists: Finalists,
    measurements: Iterable[Measurement],
    *,
    latency_p99_limit_ms: float | None,
    settings: ConfirmationSection,
) -> Confirmation:
    """The verdict on the blocks in which every finalist was measured.

    A finalist that never was does not take the others' verdict with it: it is left out.

    Source: method.md, rules 8–10: paired log-ratios with a t interval, exact sign-flip test, Holm.
    """
    taken = tuple(measurements)
    finalists = _measured(finalists, taken)
    blocks = _complete_blocks(finalists, taken)
    confirmed = {
        entry.variant.settings: _confirmed(entry, blocks[entry.variant.config_name], latency_p99_limit_ms)
        for entry in finalists.entries
        if blocks[entry.variant.config_name]
    }
    best = confirmed.get(finalists.best.variant.settings)
    default = None if finalists.default is None else confirmed.get(finalists.default.variant.settings)
    runner_up = None if finalists.runner_up is None else confirmed.get(finalists.runner_up.variant.settings)
    if best is None:
        reason = "No block of the confirmation was measured whole, so nothing is known beyond the sweep."
        return Confirmation(verdict="undecided", reason=reason, best=None, default=default, runner_up=runner_up)
    against_default, against_runner_up = _compare(finalists, blocks, settings)
    if default is not None and default.feasible and against_default is not None and _is_slower(against_default):
        return _default_kept(best, default, _reversed(blocks, against_default, settings))
    verdict, reason = _verdict(finalists, best, default, against_default)
    return Confirmation(
        verdict=verdict,
        reason=reason,
        best=best,
        default=default,
        runner_up=runner_up,
        improvement=against_default,
        runner_up_relation=against_runner_up,
        block_count=best.block_count,
    )


def _is_slower(comparison: Comparison) -> bool:
    high = comparison.throughput_ratio.ci_high
    return high is not None and high < 1


def _reversed(
    blocks: dict[str, list[Measurement]], comparison: Comparison, settings: ConfirmationSection
) -> Comparison:
    """The same pair the other way round. The data suggested this direction, so its p-value is doubled."""
    candidate, baseline = blocks[comparison.baseline], blocks[comparison.candidate]
    p_value = min(1.0, 2 * statistics.sign_flip_p_value(_differences(candidate, baseline)))
    return _comparison(candidate, baseline, p_value, settings)


def _default_kept(sweep_winner: ConfirmedVariant, default: ConfirmedVariant, relation: Comparison) -> Confirmation:
    """The sweep's winner was noise: on fresh data the default is the faster one, so there is nothing to change."""
    ratio = relation.throughput_ratio
    return Confirmation(
        verdict="tied",
        reason="The default itself is best, so there is nothing to change: on fresh data it is faster than the sweep's "
        f"winner {sweep_winner.variant.config_name}, throughput ratio {ratio.estimate:.3f} "
        f"(95 % interval {ratio.ci_low:.3f} to {ratio.ci_high:.3f}).",
        best=default,
        default=default,
        runner_up=sweep_winner,
        runner_up_relation=relation,
        block_count=default.block_count,
    )


def nothing_feasible(
    closest: RankedVariant | None,
    limit_ms: float,
    *,
    default: ConfirmedVariant | None = None,
    block_count: int = 0,
) -> Confirmation:
    """The confirmation of a run in which no configuration meets the limit.

    Args:
        closest: The one that misses it by least, by its newest figures; None where nothing could be measured.
        limit_ms: The limit.
        default: The default's figures, where it was measured again before the last candidate was refuted.
        block_count: Blocks in which it was.
    """
    if closest is None:
        reason = "No configuration could be measured."
    else:
        reason = (
            f"No configuration keeps p99 within {limit_ms:g} ms: the closest, {closest.variant.config_name} at "
            f"concurrency {closest.load.concurrency}, has {closest.latency_p99_ms:.3g} ms "
            f"({closest.latency_p99_ms / limit_ms:.2f} times the limit)."
        )
    return Confirmation(
        verdict="no_feasible_config", reason=reason, best=None, default=default, block_count=block_count
    )


def _measured(finalists: Finalists, measurements: Sequence[Measurement]) -> Finalists:
    """The finalists without a default and a runner-up of which every window failed."""
    names = {m.variant.config_name for m in measurements if m.error is None}
    default, runner_up = (
        entry if entry is not None and entry.variant.config_name in names else None
        for entry in (finalists.default, finalists.runner_up)
    )
    return Finalists(best=finalists.best, default=default, runner_up=runner_up)


def _complete_blocks(finalists: Finalists, measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """By variant name, in block order; only blocks in which nobody failed, so that they pair."""
    names = [entry.variant.config_name for entry in finalists.entries]
    by_block: dict[int, dict[str, Measurement]] = defaultdict(dict)
    for measurement in measurements:
        if measurement.error is None and measurement.block is not None:
            by_block[measurement.block][measurement.variant.config_name] = measurement
    whole = [block for _, block in sorted(by_block.items()) if all(name in block for name in names)]
    return {name: [block[name] for block in whole] for name in names}


def _confirmed(entry: RankedVariant, blocks: Sequence[Measurement], limit_ms: float | None) -> ConfirmedVariant:
    p99 = statistics.positive_interval(_p99s(blocks))
    return ConfirmedVariant(
        variant=entry.variant,
        load=entry.load,
        throughput_infer_per_s=statistics.positive_interval(_throughputs(blocks)),
        latency_p99_ms=p99,
        feasibility="feasible" if limit_ms is None or p99.estimate <= limit_ms else "infeasible",
        block_count=len(blocks),
    )


def _throughputs(blocks: Sequence[Measurement]) -> list[float]:
    return [m.throughput_infer_per_s for m in blocks if m.throughput_infer_per_s is not None]


def _p99s(blocks: Sequence[Measurement]) -> list[float]:
    return [m.latency.p99_ms for m in blocks if m.latency is not None]


def _compare(
    finalists: Finalists, blocks: dict[str, list[Measurement]], settings: ConfirmationSection
) -> tuple[Comparison | None, Comparison | None]:
    """Best against default and against runner-up, with p-values adjusted over those that take place."""
    best = finalists.best.variant.config_name
    default = None if finalists.default is None or finalists.default_is_best else finalists.default.variant.config_name
    runner_up = None if finalists.runner_up is None else finalists.runner_up.variant.config_name
    opponents = [name for name in (default, runner_up) if name is not None]
    raw = [statistics.sign_flip_p_value(_differences(blocks[best], blocks[name])) for name in opponents]
    found = {
        name: _comparison(blocks[best], blocks[name], p_value, settings)
        for name, p_value in zip(opponents, statistics.holm(raw), strict=True)
    }
    return (found.get(default) if default else None, found.get(runner_up) if runner_up else None)


def _differences(candidate: Sequence[Measurement], baseline: Sequence[Measurement]) -> tuple[float, ...]:
    return statistics.log_ratios(_throughputs(candidate), _throughputs(baseline))


def _comparison(
    candidate: Sequence[Measurement], baseline: Sequence[Measurement], p_value: float, settings: ConfirmationSection
) -> Comparison:
    """One comparison's verdict by rule 9, over paired blocks."""
    ours, theirs = _throughputs(candidate), _throughputs(baseline)
    ratio = statistics.ratio_interval(ours, theirs)
    verdict = _relation(ratio, statistics.ratio_interval(ours, theirs, confidence=0.90), p_value, settings)
    needed = statistics.blocks_to_decide(
        statistics.log_ratios(ours, theirs),
        alpha=settings.alpha,
        comparisons=COMPARISONS,
        zone=settings.indifference_ratio,
    )
    return Comparison(
        candidate=candidate[0].variant.config_name,
        baseline=baseline[0].variant.config_name,
        throughput_ratio=ratio,
        latency_p99_ratio=statistics.ratio_interval(_p99s(candidate), _p99s(baseline)),
        p_value=p_value,
        verdict=verdict,
        reason=_reason(verdict, ratio, p_value, settings),
        blocks_to_decide=needed if verdict == "undecided" else None,
    )


def _relation(wide: Estimate, narrow: Estimate, p_value: float, settings: ConfirmationSection) -> Verdict:
    """`wide` is the 95 % interval of the throughput ratio, `narrow` the 90 % one."""
    if wide.ci_low is not None and wide.ci_low > 1 and p_value <= settings.alpha:
        return "better"
    if narrow.ci_low is None or narrow.ci_high is None:
        return "undecided"
    zone = settings.indifference_ratio
    return "tied" if 1 - zone <= narrow.ci_low and narrow.ci_high <= 1 + zone else "undecided"


def _reason(verdict: Verdict, ratio: Estimate, p_value: float, settings: ConfirmationSection) -> str:
    figures = f"throughput ratio {ratio.estimate:.3f}"
    if ratio.ci_low is not None and ratio.ci_high is not None:
        figures += f" (95 % interval {ratio.ci_low:.3f} to {ratio.ci_high:.3f}), p = {p_value:.4f}"
    if verdict == "better":
        return f"{figures}: above 1 at α = {settings.alpha:g}."
    if verdict == "tied":
        return f"{figures}: the 90 % interval lies within ±{settings.indifference_ratio:.0%}."
    return (
        f"{figures}: neither clearly above 1 at α = {settings.alpha:g} nor within ±{settings.indifference_ratio:.0%}."
    )


def _verdict(
    finalists: Finalists, best: ConfirmedVariant, default: ConfirmedVariant | None, improvement: Comparison | None
) -> tuple[Verdict, str]:
    if finalists.default_is_best:
        return "tied", "The default itself has the most throughput within the limit: nothing to change."
    if default is None:
        return "undecided", "The default could not be measured, so there is nothing to compare the best with."
    if best.feasible and not default.feasible:
        return "better", "Only the best configuration keeps the latency limit; the default misses it."
    assert improvement is not None  # the default was measured in the same blocks and is another configuration
    return improvement.verdict, improvement.reason

"""Who is measured again after the sweep, at which loads, and what is compared with what. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from hcopt.analysis.blocks import Candidate
from hcopt.records.verdict import RankedVariant

Pair = tuple[Candidate, Candidate]


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

    @property
    def plan(self) -> ComparisonPlan:
        """Who is measured; where the default's best load is another than the best's, it is measured at both."""
        best = _candidate(self.best)
        default = None if self.default is None else best if self.default_is_best else _candidate(self.default)
        at_best_load = None if default is None else replace(default, load=best.load)
        return ComparisonPlan(
            best=best,
            default=default,
            runner_up=None if self.runner_up is None else _candidate(self.runner_up),
            default_at_best_load=None if at_best_load == default else at_best_load,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPlan:
    """Which candidates are measured and compared. `default` is `best` where the sweep's winner is the user's own."""

    best: Candidate
    default: Candidate | None
    runner_up: Candidate | None
    default_at_best_load: Candidate | None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Each candidate once."""
        parts = (self.best, self.default, self.runner_up, self.default_at_best_load)
        return tuple(dict.fromkeys(one for one in parts if one is not None))

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Candidate and baseline of every comparison that may be reported: the family over which α is kept."""
        pairs: list[tuple[Candidate | None, Candidate | None]]
        pairs = [(self.best, self.default), (self.best, self.runner_up)]
        if self.default != self.best:
            pairs.append((self.runner_up, self.default))
        same_load = (one for one in (self.best, self.runner_up) if one is not None and one.load == self.best.load)
        pairs += [(one, self.default_at_best_load) for one in same_load]
        return tuple(dict.fromkeys((a, b) for a, b in pairs if a is not None and b is not None and a != b))

    @property
    def improvement(self) -> Pair | None:
        """Best and default, where they are two."""
        return None if self.default is None or self.default == self.best else (self.best, self.default)

    def without(self, missing: Callable[[Candidate], bool]) -> ComparisonPlan:
        """The plan without those that could not be measured; the best stays."""
        default, runner_up, equal = (
            None if one is None or missing(one) else one
            for one in (self.default, self.runner_up, self.default_at_best_load)
        )
        return replace(self, default=default, runner_up=runner_up, default_at_best_load=equal)

    def swapped(self, runner_up: Candidate) -> ComparisonPlan:
        """Best and runner-up with their parts exchanged; the default was measured at the load of one of them only.

        A default that was the best is the default alone.
        """
        same_load = runner_up.load == self.best.load
        equal = self.default_at_best_load if same_load else None
        behind = None if self.best == self.default else self.best
        return replace(self, best=runner_up, runner_up=behind, default_at_best_load=equal)


def _candidate(entry: RankedVariant) -> Candidate:
    return Candidate(variant=entry.variant, load=entry.load)


def choose_finalists(
    feasible: Sequence[RankedVariant],
    default: RankedVariant | None,
    *,
    excluded: Iterable[str] = (),
    bold: RankedVariant | None = None,
) -> Finalists | None:
    """Winner, runner-up and default; None where no feasible variant is left.

    Args:
        feasible: The feasible variants, best first.
        default: The default's entry, feasible or not.
        excluded: Names of variants that an earlier confirmation found infeasible.
        bold: Takes the winner's part, and the first of the others that of the runner-up.
    """
    left = [entry for entry in feasible if entry.variant.config_name not in set(excluded)]
    if not left:
        return None
    best, behind = (left[0], left[1:]) if bold is None else (bold, left)
    others = [e for e in behind if default is None or e.variant.settings != default.variant.settings]
    return Finalists(best=best, default=default, runner_up=others[0] if others else None)

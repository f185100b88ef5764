"""Why the best stands before a runner-up that is as fast: by the rule that the verdict has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate
from hcopt.report.facts.relations import cheaper_than_runner_up
from hcopt.words import texts
from tests.support.records import run_record


def tied_with_runner_up(*, instances: tuple[int, int], batch: tuple[int, int], p99: tuple[float, float]) -> RunRecord:
    """Of the best and the runner-up each setting, and the interval of the best's p99 over the runner-up's."""
    run = run_record()
    found = run.confirmation
    assert found.best is not None and found.runner_up is not None and found.runner_up_relation is not None
    sides = [
        replace(side, variant=replace(side.variant, instance_count=count, max_batch_size=size))
        for side, count, size in zip((found.best, found.runner_up), instances, batch, strict=True)
    ]
    ratio = Estimate(estimate=sum(p99) / 2, ci_low=p99[0], ci_high=p99[1])
    relation = replace(found.runner_up_relation, verdict="tied", latency_p99_ratio=ratio)
    confirmation = replace(found, best=sides[0], runner_up=sides[1], runner_up_relation=relation)
    return replace(run, confirmation=confirmation)


@pytest.mark.parametrize(
    ("instances", "batch", "p99", "code"),
    [
        ((1, 2), (8, 8), (1.1, 1.2), "fewer_instances"),
        ((2, 1), (4, 8), (0.8, 0.9), None),
        ((2, 2), (8, 4), (0.8, 0.9), "lower_p99"),
        ((2, 2), (4, 8), (0.9, 1.1), "smaller_batch"),
        ((2, 2), (4, 8), (1.1, 1.2), None),
        ((2, 2), (8, 8), (0.9, 1.1), None),
    ],
)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_what_the_best_takes_less_of(
    instances: tuple[int, int], batch: tuple[int, int], p99: tuple[float, float], code: str | None, language: str
) -> None:
    text = texts("ko" if language == "ko" else "en")
    said = cheaper_than_runner_up(tied_with_runner_up(instances=instances, batch=batch, p99=p99), text)
    assert (said is None) == (code is None)
    if said is not None and code is not None:
        assert said.startswith(text[code].partition("{")[0])

"""What `hcopt capacity` prints: figures that can be typed again, and costs that say what they are of."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hcopt.cli.show.deployment import print_answer
from hcopt.deploy.answers import Answer, answer
from hcopt.deploy.capacity import parse_growth
from hcopt.deploy.load_trace import LoadTrace
from hcopt.store.run_folder import RunFolder
from tests.support.planned_run import write_planned_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_planned_run(tmp_path / "results")


def asked(run: RunFolder, **question: Any) -> Answer:
    return answer(run, growth=parse_growth("2x/10m"), **question)


def printed(found: Answer) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_answer(console, found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("replicas", [2, 3, 10, 41, 997])
def test_load_that_is_printed_for_replicas_asks_for_these_replicas(run: RunFolder, replicas: int) -> None:
    found = re.search(r"([0-9,]+) infer/s at T, one of them to spare", printed(asked(run, replicas=replicas)))
    assert found is not None
    rate = float(found[1].replace(",", ""))
    assert asked(run, rate_infer_per_s=rate).replicas == replicas


def test_cost_at_the_sustained_rate_stands_beside_the_planned_one(run: RunFolder) -> None:
    said = printed(asked(run, rate_infer_per_s=6000, price_per_hour=0.36))
    assert "0.0172 at C; 0.05 with 2,000 infer/s a pod, as planned; in the currency of the pod's price" in said
    assert "a million inferences" not in printed(asked(run, rate_infer_per_s=6000))


def test_simulated_autoscaler_says_whose_it_is(run: RunFolder) -> None:
    trace = LoadTrace(times_s=(0.0, 60.0), rates_infer_per_s=(9000.0, 9000.0))
    said = printed(asked(run, trace=trace))
    assert "4 to 4 pods, for the lowest and highest load of the trace (--manifests: those that were written)" in said
    # Four pods for a minute, where two would have carried the load.
    assert "0.07; had one known the load, 0.03 at C (+100 %)" in said

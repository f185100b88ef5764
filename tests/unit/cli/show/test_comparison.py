"""A comparison on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from io import StringIO

import jsonschema
import pytest
from rich.console import Console

from hcopt.check.compare_runs import compare_runs
from hcopt.cli.show.comparison import as_json, markdown, print_comparison
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity, Estimate, Noise
from tests.support.records import (
    HEAVY,
    MODEL_NAME,
    grid_variants,
    model_artifact,
    no_feasible_config_record,
    run_record,
    tied_record,
    undecided_record,
)

NOISE = Noise(
    load=HEAVY,
    block_count=6,
    window_s=3.0,
    block_sd_ratio=0.031,
    pair_sd_ratio=0.04,
    resolvable_ratio=0.052,
    planned_blocks=8,
    exceeded=("steal",),
)
CAPACITY = Capacity(
    config_name=f"{MODEL_NAME}_config_6",
    sustainable_rate_infer_per_s=Estimate(estimate=5000.0, ci_low=4800.0),
    latency_p99_limit_ms=50.0,
    client_batch_size=1,
    seed=0,
)
ODD = "[bold]x[/bold] | *a* `b` <i>_c_\n# d :smile: [/]"


def full_record() -> RunRecord:
    """With all that a run may hold."""
    return run_record(noise=NOISE, capacity=CAPACITY)


def odd_record() -> RunRecord:
    """Names that mean something to Rich, Markdown or HTML."""
    run = full_record()
    assert run.confirmation.best is not None
    variant = replace(grid_variants()[6], config_name=ODD, parameters=((ODD, ODD),), dynamic_batching=False)
    found = replace(run.confirmation, best=replace(run.confirmation.best, variant=variant))
    environment = replace(run.environment, cpu_model=ODD)
    return replace(run, model=model_artifact(name=ODD, version=ODD), confirmation=found, environment=environment)


def shown(a: RunRecord, b: RunRecord, *, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    print_comparison(console, compare_runs(a, b))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def cells(text: str, label: str) -> list[str]:
    """A row of the table, with the interval from the line below."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"│ {label} "))
    pairs = zip(*(line.strip("│").split("│") for line in lines[first : first + 2]), strict=True)
    return [" ".join(part.strip() for part in pair).strip() for pair in pairs][1:]


def checked(a: RunRecord, b: RunRecord) -> JsonObject:
    """As a script reads it, checked against the schema."""
    found: JsonObject = json.loads(json.dumps(as_json(compare_runs(a, b)), allow_nan=False))
    text = resources.files("hcopt").joinpath("schemas/comparison.schema.json").read_text(encoding="utf-8")
    jsonschema.validate(found, json.loads(text), cls=jsonschema.Draft202012Validator)
    return found


def test_table_shows_both_runs_and_the_ratio_with_intervals() -> None:
    text = shown(full_record(), undecided_record())
    assert cells(text, "throughput (infer/s)") == [
        "6,438 [6,352, 6,524]",
        "5,214 [4,690, 5,738]",
        "0.803 [0.711, 0.906]",
    ]
    assert cells(text, "configuration") == ["config_6", "config_6 candidate", ""]
    assert cells(text, "over the limit") == ["0.10% [0.05%, 0.20%]"] * 2 + [""]
    assert re.search(r"limit \(at most 1%\) +│ holds +│ holds ", text)
    assert cells(text, "golden / default")[0] == "1.300 [1.276, 1.325]"
    assert "≥ 4,800" in text and "5.2%" in text
    assert "5,000" not in text, "what was not promised"


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("other", [undecided_record(), no_feasible_config_record(), odd_record()])
def test_table_fits_the_terminal(width: int, other: RunRecord) -> None:
    assert max(len(line) for line in shown(full_record(), other, width=width).splitlines()) <= width


def test_conditions_that_differ_stand_over_a_table_without_ratios() -> None:
    run = full_record()
    text = shown(run, replace(run, environment=replace(run.environment, runtime="docker")))
    assert "Conditions: different." in text
    assert "  runtime: embedded | docker" in text
    assert "B / A" not in text
    assert "Not comparable" in text


def test_default_that_misses_the_limit_has_no_gain() -> None:
    run = run_record()
    assert run.confirmation.default is not None
    late = replace(run.confirmation, default=replace(run.confirmation.default, feasibility="infeasible"))
    assert cells(shown(run, replace(run, confirmation=late)), "golden / default")[1] == "-"


def test_names_are_no_markup_on_the_terminal() -> None:
    text = shown(odd_record(), odd_record(), width=400)
    assert "[bold]x[/bold] | *a*" in text
    assert ":smile:" in text


def test_names_are_no_markup_in_markdown() -> None:
    text = markdown(compare_runs(full_record(), odd_record()))
    assert r"\[bold\]x\[/bold\] \| \*a\* \`b\` \<i\>\_c\_ \# d" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in tables} <= {4, 5}


def test_markdown_holds_the_table_and_the_conclusion() -> None:
    text = markdown(compare_runs(full_record(), undecided_record()))
    assert "| | A | B | B / A |\n| --- | ---: | ---: | ---: |\n| verdict | better | undecided |  |\n" in text
    assert "**Repeatability check" in text
    assert text.endswith("\n") and not text.endswith("\n\n")


@pytest.mark.parametrize("a", [full_record(), odd_record(), no_feasible_config_record()])
@pytest.mark.parametrize("b", [run_record(), tied_record(), undecided_record(), no_feasible_config_record()])
def test_json_keeps_its_schema(a: RunRecord, b: RunRecord) -> None:
    assert checked(a, b)["b"]["verdict"] == b.confirmation.verdict


def test_json_says_what_the_table_says() -> None:
    found = checked(full_record(), undecided_record())
    assert (found["comparable"], found["same_model"], found["repeatability_check"]) == (True, True, True)
    assert found["ratios"]["throughput"]["relation"] == "lower"
    assert found["a"]["sustainable_rate_infer_per_s"] == {"estimate": 5000.0, "ci_low": 4800.0, "ci_high": None}
    assert found["a"]["noise"] == {"block_sd_ratio": 0.031, "resolvable_ratio": 0.052, "exceeded": ["steal"]}


def test_machine_that_was_too_noisy_is_remarked() -> None:
    assert "note: A's machine went beyond the limits of `noise`: steal." in shown(full_record(), run_record())


def test_json_of_other_conditions_has_no_ratio() -> None:
    run = full_record()
    found = checked(run, replace(run, environment=replace(run.environment, server_image="sha256:1")))
    assert (found["comparable"], found["ratios"]) == (False, None)
    assert found["differences"][0] | {"why": ""} == {"key": "server_image", "a": None, "b": "sha256:1", "why": ""}

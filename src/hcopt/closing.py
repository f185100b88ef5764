"""What the terminal shows before a run (the plan) and after it (the answer, and where everything is)."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from hcopt.doctor.findings import Finding
from hcopt.job import PlannedJob
from hcopt.pipeline import FinishedRun
from hcopt.schema import Estimate, ModelConfigVariant, RunRecord
from hcopt.terminal import duration, print_note

_VERDICTS = {
    "better": ("better", "bold green"),
    "tied": ("tied", "bold"),
    "undecided": ("undecided", "bold yellow"),
    "no_feasible_config": ("no configuration meets the limit", "bold red"),
}
_PLAN_COLUMNS = ("configuration", "max batch size", "instances", "queue delay (µs)")

_STATUS_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def print_plan(console: Console, planned: PlannedJob) -> None:
    """What a run would measure, and how long it would take."""
    plan = planned.plan
    console.print(Text.assemble("Model ", (plan.model_name, "bold"), f" from {planned.source_uri}"), highlight=False)
    for note in planned.notes:
        print_note(console, note)
    swept = any(variant.parameters for variant in plan.all_variants)
    table = Table(*_PLAN_COLUMNS, *(["parameters"] if swept else []))
    for variant in plan.all_variants:
        cells = _settings(variant) if swept else _settings(variant)[:-1]
        # Without the model's name, which would leave no room for what tells them apart.
        table.add_row(*map(Text, (variant.config_name.removeprefix(f"{plan.model_name}_"), *cells)))
    console.print(table)
    loads = ", ".join(f"{load.concurrency}×{load.client_batch_size}" for load in plan.loads)
    console.print(f"Each at concurrency × rows a request: {loads}", highlight=False)
    console.print(
        f"{plan.measurement_count} measurements in the sweep and up to {planned.confirmation_count} in the "
        f"confirmation: about {duration(planned.expected_s)}. Nothing was measured or written.",
        highlight=False,
    )


def print_finding(console: Console, name: str, finding: Finding) -> None:
    """One line of `hcopt doctor`."""
    status = (f"{finding.status:<8}", _STATUS_STYLES[finding.status])
    line = Text.assemble(status, (f"{name:<15}", "bold"), finding.said)
    if finding.remedy is not None:
        line.append("; what to do: ", "bold").append(finding.remedy)
    console.print(line)


def print_closing(console: Console, finished: FinishedRun) -> None:
    """The answer in a table, then where the files are and which command opens what."""
    found = finished.record.confirmation
    console.print()
    console.print(Text.assemble("Verdict: ", _VERDICTS[found.verdict], f". {found.reason}"), highlight=False)
    needed = None if found.improvement is None else found.improvement.blocks_to_decide
    if needed is not None:
        console.print(f"About {needed} blocks would decide; {found.block_count} were measured.", highlight=False)
    if found.best is not None:
        console.print(_table(finished.record))
    results, name = finished.folder.results, finished.record.model.name
    lines = [
        ("report", results / "reports" / "summaries" / name / "result_summary.pdf"),
        ("summary", results / "summary.json"),
    ]
    if found.best is not None:
        label = "candidate, not proven" if found.verdict == "undecided" else "golden configuration"
        lines.insert(1, (label, results / "golden" / name / "config.pbtxt"))
    for label, path in lines:
        console.print(Text(f"{label + ':':<24}{path}"), highlight=False)
    if finished.tracked is not None:
        console.print(Text(f"{'MLflow:':<24}{finished.tracked.page_command}"), highlight=False)


def _table(record: RunRecord) -> Table:
    """Default and best side by side, without the model's name in theirs."""
    found = record.confirmation
    assert found.best is not None
    best, default = found.best, found.default
    name = "candidate" if found.verdict == "undecided" else "best"
    sides = [(name, best)]
    if default is not None and default.variant != best.variant:
        sides.insert(0, ("default", default))
    table = Table("", *(Column(label, overflow="fold") for label, _ in sides))
    labels = [*_PLAN_COLUMNS, *(["parameters"] if any(side.variant.parameters for _, side in sides) else [])]
    prefix = f"{record.model.name}_"
    settings = [(side.variant.config_name.removeprefix(prefix), *_settings(side.variant)) for _, side in sides]
    rows = {
        **{label: [cells[index] for cells in settings] for index, label in enumerate(labels)},
        "concurrency": [str(side.load.concurrency) for _, side in sides],
        "throughput (infer/s)": [_interval(side.throughput_infer_per_s, "{:,.0f}") for _, side in sides],
        "p99 latency (ms)": [_interval(side.latency_p99_ms, "{:.2f}") for _, side in sides],
    }
    for label, cells in rows.items():
        table.add_row(label, *map(Text, cells))
    return table


def _settings(variant: ModelConfigVariant) -> tuple[str, ...]:
    """Max batch size, instances, queue delay and parameters, as they are shown."""
    parameters = ", ".join(f"{key}={value}" for key, value in variant.parameters)
    return str(variant.max_batch_size), str(variant.instance_count), str(variant.max_queue_delay_us), parameters


def _interval(value: Estimate, form: str) -> str:
    if value.ci_low is None or value.ci_high is None:
        return form.format(value.estimate)
    return f"{form.format(value.estimate)} [{form.format(value.ci_low)}, {form.format(value.ci_high)}]"

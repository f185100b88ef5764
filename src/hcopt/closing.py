"""What the terminal shows before a run (the plan) and after it (the answer, and where everything is)."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hcopt.job import PlannedJob
from hcopt.pipeline import FinishedRun
from hcopt.schema import ConfirmedVariant, Estimate
from hcopt.terminal import duration

_VERDICTS = {
    "better": "[bold green]better[/bold green]",
    "tied": "[bold]tied[/bold]",
    "undecided": "[bold yellow]undecided[/bold yellow]",
    "no_feasible_config": "[bold red]no configuration meets the limit[/bold red]",
}


def print_plan(console: Console, planned: PlannedJob) -> None:
    """What a run would measure, and how long it would take."""
    plan = planned.plan
    console.print(f"Model [bold]{escape(plan.model_name)}[/bold] from {escape(planned.source_uri)}", highlight=False)
    for note in planned.notes:
        console.print(f"  [yellow]note:[/yellow] {escape(note.en)}", highlight=False)
    table = Table("configuration", "max batch size", "instances", "queue delay (µs)")
    for variant in plan.all_variants:
        table.add_row(
            escape(variant.config_name),
            str(variant.max_batch_size),
            str(variant.instance_count),
            str(variant.max_queue_delay_us),
        )
    console.print(table)
    loads = ", ".join(f"{load.concurrency}×{load.client_batch_size}" for load in plan.loads)
    console.print(f"Each at concurrency × rows a request: {loads}", highlight=False)
    console.print(
        f"{plan.measurement_count} measurements in the sweep and up to {planned.confirmation_count} in the "
        f"confirmation: about {duration(planned.expected_s)}. Nothing was measured or written.",
        highlight=False,
    )


def print_closing(console: Console, finished: FinishedRun) -> None:
    """The answer in a table, then where the files are and which command opens what."""
    found = finished.record.confirmation
    console.print()
    console.print(f"Verdict: {_VERDICTS[found.verdict]}. {escape(found.reason)}", highlight=False)
    if found.best is not None:
        console.print(_table(found.best, found.default))
    results, name = finished.folder.results, finished.record.model.name
    lines = [
        ("report", results / "reports" / "summaries" / name / "result_summary.pdf"),
        ("summary", results / "summary.json"),
    ]
    if found.best is not None:
        lines.insert(1, ("golden configuration", results / "golden" / name / "config.pbtxt"))
    for label, path in lines:
        console.print(f"{label + ':':<22}{escape(str(path))}", highlight=False)
    if finished.tracked is not None:
        console.print(f"{'MLflow:':<22}{escape(finished.tracked.page_command)}", highlight=False)


def _table(best: ConfirmedVariant, default: ConfirmedVariant | None) -> Table:
    sides = (
        [("best", best)]
        if default is None or default.variant == best.variant
        else [("default", default), ("best", best)]
    )
    table = Table("", *(label for label, _ in sides))
    rows = {
        "configuration": [side.variant.config_name for _, side in sides],
        "max batch size": [str(side.variant.max_batch_size) for _, side in sides],
        "instances": [str(side.variant.instance_count) for _, side in sides],
        "queue delay (µs)": [str(side.variant.max_queue_delay_us) for _, side in sides],
        "concurrency": [str(side.load.concurrency) for _, side in sides],
        "throughput (infer/s)": [_interval(side.throughput_infer_per_s, "{:,.0f}") for _, side in sides],
        "p99 latency (ms)": [_interval(side.latency_p99_ms, "{:.2f}") for _, side in sides],
    }
    for label, cells in rows.items():
        table.add_row(label, *(escape(cell) for cell in cells))
    return table


def _interval(value: Estimate, form: str) -> str:
    if value.ci_low is None or value.ci_high is None:
        return form.format(value.estimate)
    return f"{form.format(value.estimate)} [{form.format(value.ci_low)}, {form.format(value.ci_high)}]"

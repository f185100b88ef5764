"""What the terminal shows before a run (the plan) and after it (the answer, and where everything is)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from hcopt.analysis.view import improvement, pairing
from hcopt.cli.progress_bar import duration, print_note, printable
from hcopt.deploy.capacity import PriceOf
from hcopt.doctor.findings import Finding
from hcopt.job.batch import OVERVIEW, FinishedBatch
from hcopt.job.plan import PlannedJob
from hcopt.job.run import FinishedRun
from hcopt.records.model import ModelConfigVariant
from hcopt.records.run import ModelOutcome, RunRecord
from hcopt.records.verdict import Capacity, Comparison, FailedWindows
from hcopt.report import figures
from hcopt.report.facts.hardware import hardware_answers
from hcopt.report.facts.limit import lower_bound
from hcopt.report.facts.model_alone import alone_line
from hcopt.report.facts.names import other_parameters, short_name, swept_threads
from hcopt.report.plain_table import plain_rows
from hcopt.words import texts
from hcopt.words.notes import sentence

_VERDICTS = {
    "better": ("better", "bold green"),
    "tied": ("tied", "bold"),
    "undecided": ("undecided", "bold yellow"),
    "no_feasible_config": ("no configuration meets the limit", "bold red"),
}
_PLAN_COLUMNS = (
    "configuration",
    "model file",
    "max batch size",
    "instances",
    "queue delay (µs)",
    "threads",
    "parameters",
)
_OUTCOME_COLUMNS = ("verdict", "to deploy", "throughput × default", "sustained (infer/s)")

_STATUS_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def print_plan(console: Console, planned: PlannedJob) -> None:
    """What a run would measure, and how long it would take."""
    plan = planned.plan
    console.print(
        Text.assemble("Model ", (plan.model_name, "bold"), f" from {printable(planned.source_uri)}"), highlight=False
    )
    for note in planned.notes:
        print_note(console, note)
    # Without the model's name, which would leave no room for what tells them apart.
    names = [variant.config_name.removeprefix(f"{plan.model_name}_") for variant in plan.all_variants]
    rows = [(name, *_settings(variant)) for name, variant in zip(names, plan.all_variants, strict=True)]
    shown = [any(column) for column in zip(*rows, strict=True)]
    table = Table(*compress(_PLAN_COLUMNS, shown))
    for row in rows:
        table.add_row(*map(Text, compress(row, shown)))
    console.print(table)
    loads = ", ".join(f"{load.concurrency}×{load.client_batch_size}" for load in plan.loads)
    console.print(f"Each at concurrency × rows a request: {loads}", highlight=False)
    alone = f", {planned.alone_count} beside ONNX Runtime alone" if planned.alone_count else ""
    console.print(
        f"{plan.measurement_count} measurements in the sweep and up to {planned.confirmation_count} in the "
        f"confirmation{alone}: about {duration(planned.expected_s)}. Nothing was measured or written.",
        highlight=False,
    )


def print_total(console: Console, count: int, expected_s: float) -> None:
    """How long all models take, one after the other."""
    console.print(f"{count} models one after the other: about {duration(expected_s)}.", highlight=False)


def print_models(console: Console, finished: FinishedBatch, price_of: PriceOf) -> None:
    """What became of each model on each kind of hardware, which to take, and where everything is."""
    console.print()
    has_kinds = len({outcome.hardware for outcome in finished.outcomes}) > 1
    table = Table("model", *_OUTCOME_COLUMNS)
    if has_kinds:
        table = Table("model", "hardware", *_OUTCOME_COLUMNS)
    for outcome in finished.outcomes:
        name, *cells = _outcome(outcome)
        hardware = [Text(printable(outcome.hardware or ""))] if has_kinds else []
        table.add_row(name, *hardware, *cells)
    console.print(table)
    for line in filter(None, map(_outputs, finished.outcomes)):
        console.print(Text(line), soft_wrap=not console.is_terminal)
    for answer in hardware_answers(finished.outcomes, price_of, texts("en")) if has_kinds else ():
        for line in (f"{answer.title}: {answer.sentence}", *answer.figures, *answer.left_out):
            # The pages' figures and units are held together by a sign that a terminal need not know.
            console.print(Text(printable(line.replace("\u00a0", " "))), soft_wrap=not console.is_terminal)
    results = finished.folder.results
    lines = [
        ("overview", results / OVERVIEW),
        ("reports", results / "reports" / "summaries"),
        ("golden configurations", results / "golden"),
        ("summary", results / "summary.json"),
    ]
    for label, path in lines:
        console.print(Text(f"{label + ':':<24}{path}"), highlight=False)
    if finished.tracked is not None:
        console.print(Text(f"{'MLflow:':<24}{finished.tracked.page_command}"), highlight=False)


def _outputs(outcome: ModelOutcome) -> str | None:
    """How far the best's answers are from the model's, where it serves a variant."""
    record, best = outcome.record, None if outcome.record is None else outcome.record.confirmation.best
    note = None if record is None or best is None else record.model.outputs_note(best.variant.model_file)
    return None if note is None else f"{printable(outcome.label)}: {printable(sentence(note))}"


def _outcome(outcome: ModelOutcome) -> tuple[Text, ...]:
    name, record = Text(printable(outcome.label), overflow="fold"), outcome.record
    if record is None:
        failure = outcome.failure
        said = Text("not begun") if failure is None else Text(f"failed ({failure.exit_code})", "bold red")
        return name, said, Text(), Text(), Text()
    found = record.confirmation
    deploy = "nothing" if found.verdict == "no_feasible_config" else "default"
    if found.verdict == "better" and found.best is not None:
        deploy = short_name(found.best.variant.config_name, record)
    low, gain = None if record.capacity is None else lower_bound(record.capacity), improvement(found)
    return (
        name,
        Text(*_VERDICTS[found.verdict]),
        Text(deploy),
        Text("" if gain is None else figures.bracketed(gain.throughput_ratio, figures.times)),
        Text(f"≥ {figures.throughput(low)}" if low else ""),
    )


def print_finding(console: Console, name: str, finding: Finding) -> None:
    """One line of `hcopt doctor`."""
    status = (f"{finding.status:<8}", _STATUS_STYLES[finding.status])
    line = Text.assemble(status, (f"{name:<15}", "bold"), printable(finding.said))
    if finding.remedy is not None:
        line.append("; what to do: ", "bold").append(finding.remedy)
    console.print(line)


def print_closing(console: Console, finished: FinishedRun) -> None:
    """The answer in a table, then where the files are and which command opens what."""
    found = finished.record.confirmation
    console.print()
    # Between words on a terminal; in a file a sentence stays one line.
    console.print(
        Text.assemble("Verdict: ", _VERDICTS[found.verdict], f". {printable(sentence(found.reason))}"),
        highlight=False,
        soft_wrap=not console.is_terminal,
    )
    compared = found.improvement or found.runner_up_relation
    needed = None if compared is None or found.verdict != "undecided" else compared.blocks_to_decide
    if needed is not None:
        console.print(f"About {needed} blocks would decide; {found.block_count} were measured.", highlight=False)
    if found.best is not None:
        console.print(_table(finished.record))
    for line in _beside_the_table(finished.record):
        console.print(Text(line), soft_wrap=not console.is_terminal)
    results, name = finished.folder.results, finished.record.model.name
    report = results / "reports" / "summaries" / name / "result_summary.pdf"
    lines = [("report", report), ("page", report.with_suffix(".html")), ("summary", results / "summary.json")]
    if found.best is not None:
        label = "candidate, not proven" if found.verdict == "undecided" else "golden configuration"
        lines.insert(2, (label, results / "golden" / name / "config.pbtxt"))
    for label, path in lines:
        console.print(Text(f"{label + ':':<24}{path}"), highlight=False)
    if finished.tracked is not None:
        console.print(Text(f"{'MLflow:':<24}{finished.tracked.page_command}"), highlight=False)
        if finished.tracked.promotion is not None:
            console.print(Text(f"{'alias:':<24}{printable(finished.tracked.promotion)}"), highlight=False)


def _beside_the_table(record: RunRecord) -> Iterator[str]:
    """What the table has no column for: the comparison at equal load, windows that failed, what one server sustains."""
    found = record.confirmation
    if found.equal_load is not None and found.best is not None:
        yield f"Both at concurrency {found.best.load.concurrency}: {_ratios(found.equal_load)}."
    yield from (_failed(failed, record) for failed in found.failures)
    if record.capacity is not None:
        yield _sustained(record.capacity, record)
    if record.alone is not None:
        yield alone_line(record, record.alone, texts("en"))


def _failed(failed: FailedWindows, record: RunRecord) -> str:
    where = f"{short_name(failed.config_name, record)} at concurrency {failed.load.concurrency}"
    reason = next(iter(printable(failed.reason).splitlines()), "")[:200]
    if not failed.variant_count:
        count = f"{failed.other_count} of {failed.window_count} windows"
        return f"{where}: {count} failed for no fault of its own and count for nothing ({reason})."
    count = f"{failed.variant_count} of {failed.window_count} windows"
    return f"{where}: {count} ({failed.variant_ratio:.0%}) failed on its own account and count as missed ({reason})."


def _ratios(comparison: Comparison) -> str:
    ratios = {"throughput": comparison.throughput_ratio, "p99 latency": comparison.latency_p99_ratio}
    return ", ".join(f"{name} × {figures.bracketed(ratio, figures.times)}" for name, ratio in ratios.items())


def _sustained(capacity: Capacity, record: RunRecord) -> str:
    """The lower bound, which is what planning may use."""
    name, limit = short_name(capacity.config_name, record), f"{capacity.latency_p99_limit_ms:g} ms"
    low = lower_bound(capacity)
    if low is None:
        about = capacity.boundary_infer_per_s
        end = (
            ""
            if about is None
            else f" 1 % is estimated to be over it at {figures.bracketed(about, figures.throughput)} infer/s."
        )
        return f"{name} is not shown to keep p99 within {limit} at any rate of Poisson arrivals that was tried.{end}"
    return f"{name} sustains at least {figures.rate(low)} under Poisson arrivals with p99 within {limit}."


def _table(record: RunRecord) -> Table:
    """Default and best side by side, as in the report."""
    sides, limit_ms = pairing(record).sides, record.ranking.latency_p99_limit_ms
    roles = [texts("en")[f"group_{side.role}"] for side in sides]
    table = Table("", *(Column(role, overflow="fold") for role in roles))
    names = [short_name(side.variant.config_name, record) for side in sides]
    limited = any(side.miss_ratio is not None for side in sides)
    rows = {"configuration": names, **plain_rows(sides, limit_ms=limit_ms, limited=limited)}
    for label, cells in rows.items():
        table.add_row(*(Text(printable(cell)) for cell in (label, *cells)))
    return table


def _settings(variant: ModelConfigVariant) -> tuple[str, ...]:
    """Model file, max batch size, instances, queue delay, threads and further parameters, as they are shown."""
    settings = (variant.max_batch_size, variant.instance_count, variant.max_queue_delay_us)
    texts = (variant.model_file, *map(str, settings), swept_threads(variant), other_parameters(variant))
    return tuple(map(printable, texts))

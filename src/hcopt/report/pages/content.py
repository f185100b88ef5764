"""All that a report says of a run, in one language; what the page looks like is left to PDF and HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from hcopt.analysis.view import Pairing, pairing
from hcopt.deploy.scaling import Scaling
from hcopt.records.run import RunRecord
from hcopt.report import figures
from hcopt.report.facts import insights
from hcopt.report.facts.headline import headline_of
from hcopt.report.facts.names import one_line
from hcopt.report.pages import (
    breakdown,
    confirmed,
    details,
    first_page,
    method,
    nodes,
    noise,
    open_loop,
    pods,
    search_path,
)
from hcopt.report.values import Figure, Report, Section
from hcopt.words import Language, Text, texts
from hcopt.words.notes import sentence

# Letters of the fixed-width font that a line of the page takes.
_COMMAND_LETTERS = 105


def build(
    run: RunRecord, *, language: Language, price_per_hour: float | None = None, scaling: Scaling | None = None
) -> Report:
    """Everything that the report on a run says.

    Args:
        run: A finished run.
        language: Of every word but the user's own and those of third-party tools.
        price_per_hour: Of one server, in the user's currency; adds the cost of a million inferences.
        scaling: What `hcopt scale-check` has measured.
    """
    text = texts(language)
    pair = pairing(run)
    failed = [m for m in run.measurements if m.error is not None]
    limit_ms = run.ranking.latency_p99_limit_ms
    measurements = details.measurement_rows(run, text)
    caption = "measurements_no_limit" if limit_ms is None else "measurements_caption"
    return Report(
        language=language,
        model_name=run.model.name,
        run_id=run.run_id,
        hcopt_version=run.environment.hcopt_version,
        measured_at=text["footer_measured"].format(date=run.started_at[:16].replace("T", " ")),
        # Cut between the words of the command, as far as it has any.
        command=tuple(textwrap.wrap(run.command, _COMMAND_LETTERS, break_on_hyphens=False)),
        headline=headline_of(run, pair, language),
        table=first_page.comparison_table(run, pair, text, price_per_hour),
        caveats=insights.caveats(run, pair, text, language),
        config=first_page.config_file(run, text),
        remedies=first_page.remedies(run, text) if run.confirmation.verdict == "no_feasible_config" else (),
        sections=tuple(_sections(run, pair, scaling, text, language)),
        measurements=measurements,
        measurements_title=text["section_measurements_search" if run.decisions else "section_measurements"],
        measurements_caption=text[caption].format(limit="" if limit_ms is None else figures.limit(limit_ms))
        + (text["measurements_pooled"] if run.decisions else ""),
        has_files=any(row.model_file for row in measurements),
        has_threads=any(row.threads for row in measurements),
        has_parameters=any(row.parameters for row in measurements),
        has_limit=limit_ms is not None,
        failures=details.failures(run, text),
        failures_caption=text["failed_caption" if failed else "failed_none"].format(
            failed=len(failed), total=len(run.measurements)
        ),
        environment=details.environment(run, text),
        # Both may hold the same sentence; each is said once.
        notes=tuple(dict.fromkeys(one_line(sentence(note, language)) for note in (*run.notes, *run.plan.notes))),
        method=tuple(method.method_lines(run, text)),
        limits=method.limit_lines(run, text),
    )


def _sections(
    run: RunRecord, pair: Pairing, scaling: Scaling | None, text: Text, language: Language
) -> Iterator[Section]:
    """What the verdict rests on, in the order in which a reader asks for it."""
    found = (
        confirmed.confirmation_section(run, text, language),
        breakdown.breakdown_section(run, pair, text),
        open_loop.open_loop_section(run, text),
        *pods.pod_sections(run, scaling, text),
        noise.noise_section(run, pair, text),
        nodes.nodes_section(run, text),
        search_path.search_section(run, text),
        _sweep(run, text),
    )
    yield from (section for section in found if section is not None)


def _sweep(run: RunRecord, text: Text) -> Section | None:
    if not run.ranking.ranked:
        return None
    measured = "_search" if run.decisions else ""
    lines = text["sweep_caption_lines"] if len(run.plan.loads) > 1 else ""
    heat_map = "heat_map_caption_no_limit" if run.ranking.latency_p99_limit_ms is None else "heat_map_caption"
    captions = {
        "sweep": text[f"sweep_caption{measured}"] + lines,
        "heat_map": text[f"{heat_map}{measured}"],
        "load_curve": text[f"load_curve_caption{measured}"],
    }
    figures = tuple(Figure(chart=chart, caption=said) for chart, said in captions.items())
    return Section(name="sweep", title=text[f"section_sweep{measured}"], figures=figures)

"""A RunRecord becomes all that a report says, in one language; what the page looks like is left to PDF and HTML."""

from __future__ import annotations

import textwrap

from hcopt.report import details, figures, first_page, insights
from hcopt.report.headline import headline
from hcopt.report.selection import pairing
from hcopt.report.text import Language, texts
from hcopt.report.values import Report
from hcopt.schema import Note, RunRecord

# Letters of the fixed-width font that a line of the page takes.
_COMMAND_LETTERS = 105


def build(run: RunRecord, *, language: Language, price_per_hour: float | None = None) -> Report:
    """Everything that the report on a run says.

    Args:
        run: A finished run.
        language: Of every word but the user's own and those of third-party tools.
        price_per_hour: Of one server, in the user's currency; adds the cost of a million inferences.
    """
    text = texts(language)
    pair = pairing(run)
    failed = [m for m in run.measurements if m.error is not None]
    limit_ms = run.ranking.latency_p99_limit_ms
    caption = "measurements_no_limit" if limit_ms is None else "measurements_caption"
    return Report(
        language=language,
        model_name=run.model.name,
        run_id=run.run_id,
        hcopt_version=run.environment.hcopt_version,
        measured_at=text["footer_measured"].format(date=run.started_at[:16].replace("T", " ")),
        # Cut between the words of the command, as far as it has any.
        command=tuple(textwrap.wrap(run.command, _COMMAND_LETTERS, break_on_hyphens=False)),
        headline=headline(run, pair, text),
        table=first_page.comparison_table(run, pair, text, price_per_hour),
        caveats=insights.caveats(run, pair, text),
        config=first_page.config_file(run, text),
        remedies=first_page.remedies(run, text) if run.confirmation.verdict == "no_feasible_config" else (),
        runner_up=details.runner_up_sentence(run, text),
        finalists=details.finalists(run, text),
        finalists_caption=text["finalists_caption"].format(blocks=run.confirmation.block_count),
        sweep_caption=text["sweep_caption"] + (text["sweep_caption_lines"] if len(run.plan.loads) > 1 else ""),
        measurements=details.measurement_rows(run, text),
        measurements_caption=text[caption].format(limit="" if limit_ms is None else figures.limit(limit_ms)),
        has_parameters=any(variant.parameters for variant in run.plan.all_variants),
        has_limit=limit_ms is not None,
        failures=details.failures(run, text),
        failures_caption=text["failed_caption" if failed else "failed_none"].format(
            failed=len(failed), total=len(run.measurements)
        ),
        environment=details.environment(run, text),
        # Both may hold the same sentence; each is said once.
        notes=tuple(dict.fromkeys(_said(note, language) for note in (*run.notes, *run.plan.notes))),
        method=details.method(run, text),
        limits=tuple(text[key] for key in ("limit_scope", "limit_closed_loop", "limit_client", "limit_instances")),
    )


def _said(note: Note, language: Language) -> str:
    return details.one_line(note.ko if language == "ko" else note.en)

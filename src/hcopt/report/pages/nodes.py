"""The nodes of a cluster that measured a run: what each of them did, and its effect on the figures. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from hcopt.analysis.node_effects import NodeEffect, effects_taken_out
from hcopt.records.measurement import Measurement, Phase
from hcopt.records.run import RunRecord
from hcopt.report import figures
from hcopt.report.facts.names import one_line
from hcopt.report.values import Cell, Section, Table
from hcopt.words import Text

_MAX_ROWS = 20
_PHASES: tuple[Phase, ...] = ("noise", "sweep", "confirmation", "open_loop")


def nodes_section(run: RunRecord, text: Text) -> Section | None:
    """The section on them, the fastest first; None where one machine measured, and no table of one node."""
    effects = effects_taken_out(run)
    if not effects:
        return None
    if len(effects) == 1:
        line = text["nodes_one"].format(node=one_line(effects[0].node))
        return Section(name="nodes", title=text["nodes_column"], lines=(line,))
    most = sorted(effects, key=_size, reverse=True)[:_MAX_ROWS]
    shown = sorted(most, key=lambda effect: (effect.linked, effect.throughput_ratio), reverse=True)
    return Section(
        name="nodes",
        title=text["section_nodes"],
        lines=tuple(_lines(run, effects, text)),
        table=_table(run, shown, text),
        note=_note(shown, len(effects), text),
    )


def _size(effect: NodeEffect) -> float:
    """How much a node changes the figures; less than none where nobody knows."""
    if not effect.linked:
        return -1.0
    return max(abs(math.log(effect.throughput_ratio)), abs(math.log(effect.latency_p99_ratio)))


def _lines(run: RunRecord, effects: Iterable[NodeEffect], text: Text) -> Iterator[str]:
    swept, confirmed = _names(run, "sweep"), _names(run, "confirmation")
    if any(effect.linked for effect in effects):
        yield text["nodes_taken_out"]
    elif len(swept) == 1:
        yield text["nodes_swept_one"].format(node=swept[0])
    else:
        yield text["nodes_as_measured"]
    if confirmed:
        yield text["nodes_confirmed"].format(nodes=", ".join(confirmed))


def _names(run: RunRecord, phase: Phase) -> tuple[str, ...]:
    """Nodes that measured in it, in order: more than one where a run was resumed."""
    names = dict.fromkeys(m.node for m in run.measurements if m.phase == phase and m.node is not None)
    return tuple(one_line(name) for name in names)


def _table(run: RunRecord, shown: Sequence[NodeEffect], text: Text) -> Table:
    phases = [phase for phase in _PHASES if any(m.phase == phase for m in run.measurements)]
    columns = [f"nodes_column_{name}" for name in (*phases, "throughput", "latency", "steal")]
    return Table(
        header=(text["nodes_column"], *(text[column] for column in columns)),
        rows=tuple(
            _row(effect, [m for m in run.measurements if m.node == effect.node], phases, text) for effect in shown
        ),
    )


def _row(effect: NodeEffect, taken: Sequence[Measurement], phases: Iterable[Phase], text: Text) -> tuple[Cell, ...]:
    counts = [sum(m.phase == phase for m in taken) for phase in phases]
    ratios = (effect.throughput_ratio, effect.latency_p99_ratio)
    steal = [m.steal_ratio for m in taken if m.steal_ratio is not None]
    values = (
        one_line(effect.node),
        *(f"{count:,}" if count else text["nothing"] for count in counts),
        *(figures.change(ratio) if effect.linked else text["nodes_unknown"] for ratio in ratios),
        figures.rough(max(steal)) if steal else text["nothing"],
    )
    return tuple(Cell(value=value) for value in values)


def _note(shown: Sequence[NodeEffect], total: int, text: Text) -> str:
    more = total - len(shown)
    most = text["nodes_most"].format(shown=len(shown), total=f"{total:,}", more=f"{more:,}") if more else ""
    unknown = "" if all(effect.linked for effect in shown) else text["nodes_note_unknown"]
    return most + text["nodes_note"] + unknown

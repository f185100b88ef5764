"""Where a request spends its time, default against best: what explains a difference, as the blocks show it. Pure.

At a fixed concurrency the throughput is the concurrency over the mean latency, so the parts of the mean latency are the
parts of the throughput.

Source: Little (1961), A Proof for the Queuing Formula: L = λW.
"""

from __future__ import annotations

from collections.abc import Sequence

from hcopt.analysis.stats import t_interval
from hcopt.analysis.view import Pairing, default_wins
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate
from hcopt.report import figures
from hcopt.report.facts.model_alone import alone_line
from hcopt.report.facts.names import load_value, side_name
from hcopt.report.facts.server_times import SERVER_PARTS, Times, server_times
from hcopt.report.values import Cell, Figure, Section, Table
from hcopt.words import Text

# A change of less than half a microsecond is none that the report could show.
_SMALLEST_MS = 0.0005
# Then most of what a client waits for is nothing that a configuration of Triton could change.
_MUCH_OUTSIDE_RATIO = 0.5
PARTS = (*SERVER_PARTS, "outside")


def times(run: RunRecord, pair: Pairing) -> tuple[Times, ...]:
    """Default and best, at the same load where both were measured at it; nothing unless both have figures."""
    if pair.right is None:
        return ()
    load = pair.right.load
    found = [server_times(run, side, load) or server_times(run, side, side.load) for side in pair.sides]
    known = tuple(entry for entry in found if entry is not None)
    return known if len(known) == len(pair.sides) else ()


def breakdown_section(run: RunRecord, pair: Pairing, text: Text) -> Section | None:
    """The section on it; None where Triton's statistics are missing."""
    sides = times(run, pair)
    if not sides:
        return None
    wins = run.confirmation.verdict == "better" and not default_wins(run) and len(sides) == 2
    return Section(
        name="breakdown",
        title=text["section_breakdown" if wins else "section_breakdown_neutral"],
        lines=(*breakdown_lines(run, sides, text), *_alone(run, sides, text)),
        table=_table(run, sides, text),
        note=_note(sides, text),
        figures=(Figure(chart="breakdown", caption=text["breakdown_caption"]),),
    )


def _note(sides: Sequence[Times], text: Text) -> str:
    confirmed = all(side.confirmed for side in sides)
    return text["breakdown_note" if confirmed else "breakdown_note_sweep"] + text["breakdown_reading"]


def breakdown_lines(run: RunRecord, sides: Sequence[Times], text: Text) -> tuple[str, ...]:
    """What the blocks show: the change of the mean latency, and the parts that changed beyond their intervals."""
    if len(sides) < 2:
        return ()
    left, right = sides
    if not (left.confirmed and right.confirmed):
        return (text["breakdown_sweep"],)
    names = {"left": side_name(left.side, run, text), "right": side_name(right.side, run, text)}
    total = _difference(left, right, "total")
    lines = [text[_direction("breakdown_total", total)].format(**names, **_words(total, text))]
    lines += _part_lines(left, right, text)
    if (share := right.mean_ms("outside") / right.mean_ms("total")) > _MUCH_OUTSIDE_RATIO:
        lines.append(text["breakdown_outside"].format(name=names["right"], share=share))
    if left.load != right.load:
        loads = {"left_load": load_value(left.load, text), "right_load": load_value(right.load, text)}
        lines.append(text["breakdown_loads"].format(**loads))
    return tuple(lines)


def _alone(run: RunRecord, sides: Sequence[Times], text: Text) -> tuple[str, ...]:
    """What of a request's time is the model's, and what waiting adds to it under the load; nothing where not known."""
    if run.alone is None:
        return ()
    line, found = alone_line(run, run.alone, text), run.confirmation.best
    loaded = next((one for one in sides if found is not None and one.side.variant == found.variant), None)
    if loaded is None:
        return (line,)
    shown = {part: figures.milliseconds(loaded.mean_ms(part)) for part in ("queue", "total")}
    return (f"{line} {text['alone_loaded'].format(load=load_value(loaded.load, text), **shown)}",)


def _part_lines(left: Times, right: Times, text: Text) -> list[str]:
    """Shorter and longer parts, largest change first; parts whose interval holds 0 are not named as changed."""
    changes = {part: _difference(left, right, part) for part in PARTS}
    lines = []
    for direction in ("shorter", "longer"):
        shown = [part for part, change in changes.items() if _direction("", change) == f"_{direction}"]
        if shown:
            shown.sort(key=lambda part: -abs(changes[part].estimate))
            parts = "; ".join(
                text["breakdown_part"].format(part=text[f"part_{part}"], **_words(changes[part], text))
                for part in shown
            )
            lines.append(text[f"breakdown_{direction}"].format(parts=parts))
    return lines or [text["breakdown_same"]]


def _difference(left: Times, right: Times, part: str) -> Estimate:
    """Right minus left over the blocks that both have, with a 95 % interval over these pairs."""
    common = sorted(left.windows.keys() & right.windows.keys())
    if not common:
        return Estimate(estimate=right.mean_ms(part) - left.mean_ms(part))
    return t_interval([right.windows[block][part] - left.windows[block][part] for block in common])


def _direction(key: str, change: Estimate) -> str:
    if abs(change.estimate) < _SMALLEST_MS:
        return f"{key}_same"
    if change.ci_high is not None and change.ci_high < 0:
        return f"{key}_shorter"
    if change.ci_low is not None and change.ci_low > 0:
        return f"{key}_longer"
    return f"{key}_same"


def _words(change: Estimate, text: Text) -> dict[str, str]:
    bounds = figures.bounds(change, figures.difference, text)
    return {"change": figures.difference(change.estimate), "range": bounds or text["no_interval"]}


def _table(run: RunRecord, sides: Sequence[Times], text: Text) -> Table:
    both = len(sides) == 2 and all(side.confirmed for side in sides)
    heads = [
        text["breakdown_column"].format(name=side_name(entry.side, run, text), load=load_value(entry.load, text))
        for entry in sides
    ]
    rows = []
    for part in (*PARTS, "total"):
        cells = [_cell(entry, part) for entry in sides]
        rows.append(
            (
                Cell(value=text[f"part_{part}"]),
                *cells,
                *((_change_cell(sides[0], sides[1], part, text),) if both else ()),
            )
        )
    header = (text["column_part"], *heads, *((text["column_change"],) if both else ()))
    return Table(header=header, rows=tuple(rows))


def _cell(entry: Times, part: str) -> Cell:
    mean = entry.mean_ms(part)
    share = figures.share(mean / entry.mean_ms("total")) if entry.mean_ms("total") > 0 else ""
    return Cell(value=f"{figures.latency(mean)}\u00a0ms", detail="" if part == "total" else share)


def _change_cell(left: Times, right: Times, part: str, text: Text) -> Cell:
    change = _difference(left, right, part)
    bounds = figures.bounds(change, figures.difference, text)
    return Cell(value=figures.difference(change.estimate), detail="" if bounds is None else bounds)

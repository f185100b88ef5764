"""What has to hold after a kill, and in the end: every fault that is found is a line of text."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from hcopt.errors import HcoptError
from hcopt.records.measurement import Measurement
from hcopt.store.measurements import FILE_NAME, read_measurements, read_samples
from hcopt.store.run_folder import SHOWN, find_run, read_record
from tests.faults.killed_hcopt import plain_name
from tests.faults.scenes import Execution
from tests.support.command import Workplace

# Where only the work lies: what is whole there is the next run's business.
_WORK = {"model", "repository", "work", "logs"}
_MEASURED = re.compile(r"^  (?:\[ *\d+/\d+\] )?\S+, (?:concurrency |[\d,]+ requests/s)", re.MULTILINE)


def recorded_lines(place: Workplace) -> list[bytes]:
    """The whole lines of the run's measurements.jsonl; none where there is no run."""
    for run in place.runs:
        file = run / FILE_NAME
        if file.exists():
            return [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return []


def state_of(run: Path) -> str | None:
    """The state in its run.json; None before there is one."""
    file = run / "run.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["state"]) if file.exists() else None


def faults_after_kill(place: Workplace, killed: Execution, before: list[bytes]) -> Iterator[str]:
    """What is wrong a moment after a kill."""
    yield from (f"left after the kill: {one}" for one in place.left_by_the_killed())
    now = recorded_lines(place)
    if now[: len(before)] != before:
        yield "a measurement of before was lost"
    told, new = len(_MEASURED.findall(killed.stderr)), len(now) - len(before)
    if new not in (told, told + 1):  # recorded first, then told
        yield f"{told} measurements were told, {new} are on disk"
    yield from torn_files(place)


def torn_files(place: Workplace) -> Iterator[str]:
    """Files under their own names that are not whole."""
    for run in place.runs:
        for path in run.rglob("*"):
            inside = path.relative_to(run)
            if path.is_file() and not any(part in _WORK or part.startswith(".") for part in inside.parts):
                try:
                    _read(path)
                except (ValueError, LookupError, HcoptError, text_format.ParseError) as error:
                    yield f"torn: {inside}: {error}"


def _read(path: Path) -> None:
    """Raises what the content's reader raises where the file is cut."""
    content = path.read_bytes()
    end = {".pdf": b"%%EOF", ".html": b"</html>", ".yaml": b"\n"}.get(path.suffix, b"")
    if not content.endswith((end, end + b"\n")):
        raise ValueError(f"{len(content)} bytes that do not end with {end!r}")
    if path.suffix == ".json":
        json.loads(content)
    elif path.suffix == ".pbtxt":
        text_format.Parse(content, ModelConfig())
    elif path.suffix == ".npz":
        read_samples(path)
    elif path.name == FILE_NAME:
        read_measurements(path.parent)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What an undisturbed run leaves: its files, and the windows that do not depend on figures, failed ones too."""

    files: frozenset[str]
    windows: frozenset[tuple[object, ...]]


def whole_run(place: Workplace) -> Whole:
    """What is there now."""
    (run,) = place.runs
    taken = read_measurements(run)
    fixed = ("noise", "sweep") if any(one.profiler == "model-analyzer" for one in taken) else ("noise",)
    return Whole(
        files=frozenset(_result_files(run)),
        windows=frozenset(_window(one) for one in taken if one.phase in fixed),
    )


def _window(one: Measurement) -> tuple[object, ...]:
    return (one.phase, one.variant.config_name, one.load, one.block)


def _result_files(run: Path) -> Iterator[str]:
    for path in run.rglob("*"):
        name = plain_name(str(path.relative_to(run)))
        if path.is_file() and not name.startswith("samples/"):
            yield name


def faults_in_the_end(place: Workplace, whole: Whole | None) -> Iterator[str]:
    """What is wrong with a finished run, compared with an undisturbed one where there is one to compare with."""
    yield from (f"left in the end: {one}" for one in place.left())
    if len(place.runs) != 1:
        yield f"not one run: {[run.name for run in place.runs]}"
    run = place.runs[-1]
    if state_of(run) != "finished":
        yield f"the state is {state_of(run)}"
        return
    yield from torn_files(place)
    yield from _unwanted(place, run)
    yield from _twice_or_missing(run)
    yield from _wrong_in_mlflow(place, run)
    if whole is not None and len(place.runs) == 1:
        found = whole_run(place)
        if found.files != whole.files:
            yield f"other files than undisturbed: {sorted(found.files ^ whole.files)}"
        if not whole.windows <= found.windows:
            yield f"not measured: {sorted(map(str, whole.windows - found.windows))}"


def _unwanted(place: Workplace, run: Path) -> Iterator[str]:
    allowed = {"runs", "latest", "mlflow", *SHOWN}
    yield from (f"under results/: {path.name}" for path in place.results.iterdir() if path.name not in allowed)
    database = {path.name for path in (place.results / "mlflow").iterdir()} - {"mlflow.db", "artifacts"}
    yield from (f"beside the database: {name}" for name in database)
    yield from (f"beside the results: {path.name}" for path in place.folder.iterdir() if path.name == "mlruns")
    for path in run.rglob("*"):
        inside = path.relative_to(run)
        if path.name.startswith(".") or inside.parts[0] in _WORK - {"logs"} or path.name.endswith(".export.json"):
            yield f"a leftover: {inside}"
    recorded = {one.samples_file for one in read_measurements(run) if one.samples_file}
    there = {str(path.relative_to(run)) for path in run.glob("samples/*/*")}
    yield from (f"samples without a measurement, or the other way: {name}" for name in recorded ^ there)
    if (place.results / "latest").resolve() != run.resolve():
        yield "results/ shows another run"


def _twice_or_missing(run: Path) -> Iterator[str]:
    record = read_record(find_run(str(run), results=run))
    good = [one for one in record.measurements if one.error is None]
    yield from (f"a window failed: {_window(one)}: {one.error}" for one in record.measurements if one.error)
    counts = Counter(_window(one) for one in good)
    for window, count in counts.items():
        paired = window[0] == "noise" and window[3] is not None  # a block of the noise is the default twice
        if count > (2 if paired else 1):
            yield f"measured {count} times: {window}"
    blocks = Counter(one.block for one in record.measurements if one.phase == "confirmation")
    if sorted(map(str, blocks)) != sorted(map(str, range(len(blocks)))) or len(set(blocks.values())) != 1:
        yield f"blocks of the confirmation are not whole: {dict(blocks)}"
    if good and good[0].profiler == "model-analyzer":
        planned = {(v.config_name, load) for v in record.plan.all_variants for load in record.plan.loads}
        swept = {(one.variant.config_name, one.load) for one in record.measurements if one.phase == "sweep"}
        yield from (f"not swept, or not planned: {point}" for point in planned ^ swept)


def _wrong_in_mlflow(place: Workplace, run: Path) -> Iterator[str]:
    """One run of hcopt's with a child for each variant, all ended; the sample model, where there is one, once."""
    variants = {path.name for path in (run / "output_models").iterdir()}
    with closing(sqlite3.connect(place.results / "mlflow" / "mlflow.db")) as database:
        parents = database.execute(
            "SELECT r.run_uuid, r.status FROM runs r JOIN tags t USING (run_uuid)"
            " WHERE t.key = 'hcopt.run_id' AND t.value = ?",
            (run.name,),
        ).fetchall()
        children = database.execute(
            "SELECT c.value, r.status FROM runs r JOIN tags t USING (run_uuid) JOIN tags c USING (run_uuid)"
            " WHERE t.key = 'mlflow.parentRunId' AND c.key = 'hcopt.config_name'"
        ).fetchall()
        seeds = database.execute("SELECT status FROM runs WHERE name LIKE '% sample'").fetchall()
        versions = database.execute("SELECT COUNT(*) FROM model_versions").fetchone()
    if seeds and (seeds, versions) != ([("FINISHED",)], (1,)):
        yield f"the sample model's runs in MLflow: {seeds}, its versions: {versions}"
    if [status for _, status in parents] != ["FINISHED"]:
        yield f"runs in MLflow: {parents}"
    if sorted(children) != sorted((name, "FINISHED") for name in variants):
        yield f"variants in MLflow: {children}"

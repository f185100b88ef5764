"""The folder of one run and the plain files in it; `results/` shows the latest finished run through links.

Each stage writes its files before the next begins, so that ranking, report and logging can be made again from them.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hcopt.errors import ConfigError
from hcopt.model.repository import check_model_name
from hcopt.model.version_policy import is_version
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.store.decisions import read_decisions
from hcopt.store.measurements import read_measurements
from hcopt.system import finite_json
from hcopt.system.clock import read_time
from hcopt.system.files import folder_lock, point_to, write_whole
from hcopt.words.notes import sentence

# What `results/` shows of the latest run. They are links through `latest`, so that one rename switches them all.
SHOWN = ("reports", "output_models", "golden", "summary.json", "measurements.jsonl")
_LATEST = "latest"
_STAMP, _STAMP_LENGTH = "%Y%m%dT%H%M%SZ", 16
_RECORD = "run.json"
_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("record", "config", "conditions"), dict),
    **dict.fromkeys(("state", "started_at", "command"), str),
    "parts": list,
}
_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """One run's place under `results/runs/`."""

    results: Path
    run_id: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.results / "runs" / self.run_id

    @property
    def part_of(self) -> str | None:
        """The run of several models that this one belongs to; None where it stands for itself."""
        whole = self.results
        return whole.name if whole.parent.name == "runs" and (whole / _RECORD).is_file() else None

    @property
    def output(self) -> Path:
        """What the user gave as --output."""
        return self.results if self.part_of is None else self.results.parent.parent

    @property
    def golden(self) -> Path:
        """A complete model repository with the best configuration."""
        return self.path / "golden"

    @property
    def output_models(self) -> Path:
        """One folder a variant, each with its config.pbtxt."""
        return self.path / "output_models"

    @property
    def summary(self) -> Path:
        """The file for machines."""
        return self.path / "summary.json"

    def report_folder(self, model_name: str) -> Path:
        """Where a model's report goes."""
        return self.path / "reports" / "summaries" / model_name

    def write_state(self, state: str, details: Mapping[str, object]) -> None:
        """Writes run.json: how far the run is, and what it has found so far."""
        write_whole(self.path / _RECORD, _json({"run_id": self.run_id, "state": state, **details}))

    def write_summary(self, summary: JsonObject) -> None:
        """Writes summary.json."""
        write_whole(self.summary, _json(summary))

    def discard(self) -> None:
        """Removes everything of a run that has measured nothing."""
        shutil.rmtree(self.path, ignore_errors=True)

    def show_as_latest(self) -> None:
        """Switches `results/` over to this run, at once; one that is a part of another is shown by that."""
        if self.part_of is not None:
            return
        for name in (*SHOWN, _LATEST):
            link = self.results / name
            if not link.is_symlink() and link.exists():
                # Somebody's own file or folder: not ours to remove.
                link.rename(self.results / f"{name}.before-{self.run_id}")
        for name in SHOWN:
            link = self.results / name
            if not link.is_symlink():
                point_to(link, f"{_LATEST}/{name}", drafts=self.path)
        point_to(self.results / _LATEST, f"runs/{self.run_id}", drafts=self.path)


def new_run(results: Path) -> RunFolder:
    """Makes the folder of a new run.

    Raises:
        OSError: It cannot be made.
    """
    stamp = _next_stamp(results / "runs")
    run = RunFolder(results=results.absolute(), run_id=f"{stamp}-{secrets.token_hex(2)}")
    run.path.mkdir(parents=True)
    return run


def _next_stamp(runs: Path) -> str:
    """The time, but always after the runs that are there: names keep their order where the clock was set back."""
    now = datetime.now(timezone.utc)
    latest = max((path.name[:_STAMP_LENGTH] for path in runs.glob("*T*Z-*")), default="")
    with suppress(ValueError, OverflowError):
        now = max(now, datetime.strptime(f"{latest}+0000", f"{_STAMP}%z") + timedelta(seconds=1))
    return now.strftime(_STAMP)


def remove_stillborn(results: Path) -> None:
    """Removes the folders of runs that were killed before they had planned anything: there is nothing to go on with."""
    for path in (results / "runs").glob("*"):
        if not _RUN_ID.fullmatch(path.name) or (path / _RECORD).exists():
            continue
        # Gone, or not ours to remove.
        with suppress(OSError), folder_lock(path, surely=True) as alone:
            if alone and not (path / _RECORD).exists():
                shutil.rmtree(path)


def find_run(reference: str, *, results: Path) -> RunFolder:
    """A run by its folder, its id, or `results` for the latest finished one.

    Raises:
        ConfigError: There is no such run.
    """
    given = Path(reference)
    for folder in (given / _LATEST, given, results / "runs" / reference):
        if (folder / _RECORD).is_file():
            path = folder.resolve()
            return RunFolder(results=path.parent.parent, run_id=path.name)
    raise ConfigError(
        f"no run {reference}: neither a run's folder, nor a run id under {results / 'runs'}",
        remedy=f"`ls {results / 'runs'}` shows the runs.",
    )


def record_json(record: RunRecord) -> JsonObject:
    """A run's record for run.json; its measurements and decisions stand in files of their own."""
    beside = {"measurements", "decisions"}
    dumped: JsonObject = TypeAdapter(RunRecord).dump_python(record, mode="json", exclude=beside)
    return dumped


def read_record(run: RunFolder) -> RunRecord:
    """Reads a finished run back from its files.

    Raises:
        ConfigError: The run is not finished, or its files are damaged.
        ProfileError: measurements.jsonl or decisions.jsonl is damaged.
    """
    data = read_state(run)
    if (parts := data.get("parts")) is not None:
        places = ", ".join(str(run.path / "runs" / part["run_id"]) for part in parts if part.get("run_id"))
        raise ConfigError(f"run {run.run_id} is one of several models", remedy=f"Name one of its parts: {places}.")
    if "record" not in data:
        raise ConfigError(f"run {run.run_id} is not finished (state: {data.get('state')})")
    # Where the folder is now: it may have been copied or moved since.
    beside = {"measurements": read_measurements(run.path), "decisions": read_decisions(run.path), "folder": run.path}
    try:
        found = TypeAdapter(RunRecord).validate_python({"rows": _noted_rows(data), **data["record"], **beside})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{run.path / _RECORD} is damaged, or of another version of hcopt: {where}: {first['msg']}",
            remedy="Give another run, or run it again.",
        ) from error
    _check_names(found)
    return found


def _noted_rows(state: JsonObject) -> JsonObject | None:
    """What a run of an older hcopt, which has them not in its record, noted of its rows."""
    model = state.get("conditions", {}).get("model")
    return {"sha256": model["rows"]} if isinstance(model, dict) and "rows" in model else None


def _check_names(record: RunRecord) -> None:
    """What no type says: name and version become folders, and notes are worded; of a run handed over by anybody.

    Raises:
        ConfigError: It is no name, or the run began at no time.
    """
    check_model_name(record.model.name)
    try:
        found = record.confirmation
        advantage = () if found.advantage is None else (found.advantage,)
        said = (note for one in record.model.variants for note in (one.refused, one.outputs_note) if note is not None)
        list(map(sentence, (*record.notes, *record.plan.notes, found.reason, *advantage, *said)))
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"run {record.run_id} has a note or a reason without its values: {error}", remedy="Give another run."
        ) from error
    if not is_version(record.model.version_folder):
        raise ConfigError(
            f"run {record.run_id} names a version {record.model.version_folder!r} that is none",
            remedy="Give another run.",
        )
    try:
        read_time(record.started_at)
    except ValueError as error:
        raise ConfigError(f"run {record.run_id} began at no time: {error}", remedy="Give another run.") from error


def recorded_config(run: RunFolder) -> JsonObject:
    """The configuration that a run was made with, as config.yaml would hold it; without any login.

    Raises:
        ConfigError: Its run.json is damaged.
    """
    config: JsonObject = read_state(run).get("config", {})
    return config


def read_state(run: RunFolder) -> JsonObject:
    """A run's run.json.

    Raises:
        ConfigError: It is not there, or damaged.
    """
    try:
        data = finite_json.loads((run.path / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {run.path / _RECORD}: {error}", remedy="Give another run; this one's record is damaged."
        ) from error
    if not isinstance(data, dict) or not all(isinstance(data.get(key, kind()), kind) for key, kind in _KINDS.items()):
        raise ConfigError(
            f"{run.path / _RECORD} is damaged: no run is written in it", remedy="Give another run, or run it again."
        )
    return data


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

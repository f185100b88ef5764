"""Which unfinished run is gone on with, and whether it may be: the conditions have to be those that it began with."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hcopt.config.sections import Config
from hcopt.errors import ConfigError, ProfileError
from hcopt.records.json import JsonObject
from hcopt.records.measurement import Environment, Measurement
from hcopt.records.note import Note
from hcopt.store.measurements import FILE_NAME, cut_torn_line, read_measurements
from hcopt.store.run_folder import RunFolder, find_run, read_state
from hcopt.system.files import remove_drafts

# They say nothing about what is measured. Where the model comes from does not matter while its files are the same, nor
# who sends the work there while the machines are.
_FREE_SECTIONS = ("report", "mlflow", "s3", "executor")
_UNFINISHED = ("measuring", "interrupted", "failed", "measured")
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A run that can be gone on with.

    Attributes:
        folder: Its folder.
        state: Its run.json.
        measurements: What it had measured.
    """

    folder: RunFolder
    state: JsonObject
    measurements: tuple[Measurement, ...]

    @property
    def is_measured(self) -> bool:
        """Whether nothing but the report and MLflow are missing."""
        return "record" in self.state

    def refuse_other(self, conditions: Mapping[str, object]) -> None:
        """Does nothing where these conditions are those of the run, as far as it had come to note them.

        Raises:
            ConfigError: They differ; names each difference.
        """
        then = self.state.get("conditions", {})
        _refuse(
            self.folder,
            [d for key, now in conditions.items() if key in then for d in _differences(then[key], now, key)],
        )

    def refuse_other_environment(self, now: Environment, *, but: Collection[str] = ()) -> None:
        """The same of the machine and the server, once these had been noted.

        Raises:
            ConfigError: They differ, as `Environment.same_conditions` says it, or what was noted is damaged.
        """
        noted = self.state.get("conditions", {}).get("environment")
        if noted is None:
            return
        try:
            then = TypeAdapter(Environment).validate_python(noted)
        except ValidationError as error:
            raise ConfigError(
                f"run {self.folder.run_id} notes no conditions that this hcopt can read",
                remedy="Leave out --resume: that starts a new run.",
            ) from error
        names = then.differing_conditions(now, but=but)
        _refuse(
            self.folder, [_difference(f"environment.{name}", getattr(then, name), getattr(now, name)) for name in names]
        )


def unfinished_run(reference: str, config: Config, *, results: Path) -> Unfinished:
    """The run that is named.

    Raises:
        ConfigError: There is no such run, it is finished, or it was made with another configuration.
        ProfileError: Its measurements are damaged.
    """
    folder = find_run(reference, results=results)
    state = read_state(folder)
    if state.get("state") not in _UNFINISHED:
        raise ConfigError(
            f"run {folder.run_id} is finished: there is nothing to go on with",
            remedy=f"`hcopt report {folder.path}` and `hcopt log {folder.path}` make its report and its entry again.",
        )
    _refuse(folder, list(_config_differences(state, config)))
    return Unfinished(folder=folder, state=state, measurements=_measured(folder))


def latest_unfinished(config: Config, *, results: Path) -> tuple[Unfinished | None, Note | None]:
    """The latest unfinished run of this configuration; where there is none, a note that says so."""
    other: tuple[RunFolder, list[str]] | None = None
    for path in sorted((results / "runs").glob("*/run.json"), reverse=True):
        folder = RunFolder(results=results.absolute(), run_id=path.parent.name)
        with suppress(ConfigError, ProfileError):
            state = read_state(folder)
            if state.get("state") not in _UNFINISHED:
                continue
            differences = list(_config_differences(state, config))
            if not differences:
                return Unfinished(folder=folder, state=state, measurements=_measured(folder)), None
            other = other or (folder, differences)
    return None, _none_found(other)


def how_to_resume(program: str, command: str, run_id: str) -> str:
    """The exact command that goes on with a run, for one that has read why it ended."""
    return f"`{program} {command.removeprefix('hcopt ')} --resume {run_id}` goes on where it stopped."


def resumed_note(unfinished: Unfinished) -> Note:
    """For the report: the run has a gap in time."""
    count, began = len(unfinished.measurements), unfinished.state.get("started_at")
    return Note.of("resumed", began=str(began), count=count)


def _measured(folder: RunFolder) -> tuple[Measurement, ...]:
    if not (folder.path / FILE_NAME).exists():
        return ()
    cut_torn_line(folder.path)
    return read_measurements(folder.path)


def _config_differences(state: JsonObject, config: Config) -> Iterator[str]:
    both = (state.get("config", {}), config.model_dump(mode="json"))
    then, now = ({key: value for key, value in data.items() if key not in _FREE_SECTIONS} for data in both)
    return _differences(then, now, "")


def _differences(then: object, now: object, key: str) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*then, *now)):
            yield from _differences(then.get(name), now.get(name), f"{key}.{name}".removeprefix("."))
    elif then != now:
        yield _difference(key, then, now)


def _difference(key: str, then: object, now: object) -> str:
    return f"{key}: {_short(then)} then, {_short(now)} now"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _refuse(folder: RunFolder, differences: list[str]) -> None:
    if differences:
        more = f"\n  and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        shown = "".join(f"\n  {difference}" for difference in differences[:_SHOWN])
        raise ConfigError(
            f"run {folder.run_id} cannot be resumed under other conditions:{shown}{more}",
            remedy="Restore them, or leave out --resume: that starts a new run.",
        )


def _none_found(other: tuple[RunFolder, list[str]] | None) -> Note:
    if other is None:
        return Note.of("nothing_to_resume")
    folder, differences = other
    shown = "; ".join(differences[:_SHOWN])
    return Note.of("nothing_alike_to_resume", run_id=folder.run_id, differences=shown)


def remove_work_files(folder: RunFolder, taken: Iterable[Measurement]) -> None:
    """Takes away what only the work of the interrupted run needed, and what it was writing when it ended."""
    for name in ("model", "repository", "work"):
        shutil.rmtree(folder.path / name, ignore_errors=True)
    remove_drafts(folder.path)
    kept = {one.samples_file for one in taken}
    for pattern in ("samples/*/*", "arrivals.txt"):
        for path in folder.path.glob(pattern):
            # The samples of a window that was not recorded any more.
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif str(path.relative_to(folder.path)) not in kept:
                path.unlink(missing_ok=True)

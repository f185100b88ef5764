"""What comes before a run: which MLflow it uses, with the sample model where nobody configured one, and `--dry-run`."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from hcopt.analysis.comparison import COMPARISONS
from hcopt.analysis.noise import minutes_to_decide, resolution_note
from hcopt.analysis.plan import expected_sweep_s
from hcopt.analysis.sequential import first_look
from hcopt.config.sections import Config
from hcopt.errors import HcoptError, OutputError
from hcopt.measure.noise import BLOCKS, FINALISTS
from hcopt.measure.onnxruntime_alone import BLOCKS as ALONE_BLOCKS
from hcopt.measure.onnxruntime_alone import expected_s as expected_alone_s
from hcopt.measure.turns.pace import QUICK
from hcopt.model.prepare import delivered_config, prepare
from hcopt.model.repository import write_repository
from hcopt.model.sample import sample_repository
from hcopt.records.json import JsonObject
from hcopt.records.measurement import SweepPlan
from hcopt.records.note import Note
from hcopt.records.verdict import Noise
from hcopt.store.run_folder import find_run, read_record
from hcopt.system.files import check_room
from hcopt.system.machine import read_cpu_model
from hcopt.system.process import temporary_folder
from hcopt.system.progress import Progress
from hcopt.system.redaction import without_credentials
from hcopt.tracking.registry import SAMPLE_MODEL, SAMPLE_URI, looking_only, resolve_tracking, seed_sample_model
from hcopt.triton.choose import server_cores
from hcopt.words.notes import sentence

_SECONDS_AROUND = 25.0
# What a configuration that is worth a change often gains: so long a confirmation is expected to last.
_TYPICAL_GAIN = 0.10
# What MLflow's database takes when it is new.
_PROBE_BYTES = 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """What `--dry-run` shows."""

    plan: SweepPlan
    source_uri: str
    notes: tuple[Note, ...]
    confirmation_count: int
    expected_s: float
    noise_count: int = 0
    alone_count: int = 0

    def as_json(self) -> JsonObject:
        """The same for machines."""
        return {
            "plan": {**asdict(self.plan), "notes": [*map(sentence, self.plan.notes)]},
            "source_uri": self.source_uri,
            "notes": [*map(sentence, self.notes)],
            "measurements": {
                "noise": self.noise_count,
                "sweep": self.plan.measurement_count,
                "confirmation": self.confirmation_count,
                "onnxruntime_alone": self.alone_count,
            },
            "expected_s": round(self.expected_s, 1),
        }


def open_tracking(config: Config, *, results: Path, progress: Progress) -> str:
    """The URI of an MLflow that has the model.

    With no tracking server configured that is MLflow on SQLite under `results/`; the sample model is registered there
    first, so that a run pulls from a real registry either way.

    Raises:
        OutputError: `results` or the registry under it cannot be written.
    """
    _check_writable(results)
    store = resolve_tracking(config, results)
    if not store.configured and re.match(rf"models:/{SAMPLE_MODEL}[@/]", config.model.uri):
        progress.phase("seed")
        seed_sample_model(store.tracking_uri, sample_repository(), config.mlflow.experiment, config=config)
    return store.tracking_uri


def _check_writable(results: Path) -> None:
    """Before anything else: SQLite and MLflow say it in their own words, which name no remedy."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        check_room(results, _PROBE_BYTES)
    except OSError as error:
        raise OutputError(
            f"cannot write to {results}: {error.strerror or error}",
            remedy="Make room, or give another folder with --output.",
        ) from error


def plan_job(config: Config, *, results: Path) -> PlannedJob:
    """Plans without measuring; what it fetches is gone afterwards, and nothing is registered.

    Raises:
        ModelSourceError: The model cannot be had or served.
        ConfigError: The sweep has no points.
    """
    tracking_uri = resolve_tracking(config, results).tracking_uri
    source = looking_only(config, tracking_uri)
    if config.mlflow.tracking_uri is None and _asks_for_sample(config):
        section = config.model.model_copy(update={"uri": str(sample_repository() / SAMPLE_MODEL)})
        # The run takes it from a registry, where it can get an alias.
        mlflow = source.mlflow.model_copy(update={"promote_alias": None})
        source = source.model_copy(update={"model": section, "mlflow": mlflow})
    with temporary_folder() as folder:
        prepared = prepare(source, into=folder, tracking_uri=tracking_uri, server_cores=server_cores(source))
    plan = prepared.plan
    noise_count = 0 if config.noise.gate == "off" else 2 * BLOCKS + 1
    noise_s = noise_count / 2 * QUICK.block_s(2)
    confirmation_count = FINALISTS * first_look(config.confirmation.alpha, COMPARISONS)
    noise = _last_noise(results, plan.server_cores)
    confirmation_s = min(60 * config.confirmation.max_minutes, _expected_confirmation_s(noise, config))
    known = () if noise is None else (Note.of("last_noise", said=resolution_note(noise, config.confirmation)),)
    checks_capacity = config.constraints.latency_p99_ms is not None
    capacity_s = 60 * config.capacity.max_minutes if checks_capacity else 0.0
    asks_alone = config.confirmation.onnxruntime_alone and not config.runtime.is_remote
    alone_count, alone_s = (2 * ALONE_BLOCKS, expected_alone_s()) if asks_alone else (0, 0.0)
    sweep_s = expected_sweep_s(plan, interval_ms=config.profiler.measurement_interval_ms)
    return PlannedJob(
        plan=plan,
        source_uri=config.model.uri,
        notes=(*prepared.notes, *known),
        noise_count=noise_count,
        confirmation_count=confirmation_count,
        alone_count=alone_count,
        expected_s=_SECONDS_AROUND + noise_s + sweep_s + confirmation_s + alone_s + capacity_s,
    )


def _last_noise(results: Path, cores: int | None) -> Noise | None:
    """What the latest run on this machine, with as many CPUs for the server, has measured of it."""
    try:
        run = read_record(find_run(str(results), results=results))
    except HcoptError:
        return None
    same = (run.environment.cpu_model, run.environment.cpu_count) == (read_cpu_model(), cores)
    return run.noise if same else None


def _expected_confirmation_s(noise: Noise | None, config: Config) -> float:
    """By the last known noise of this machine; without any, one look."""
    if noise is None:
        return first_look(config.confirmation.alpha, COMPARISONS) * QUICK.block_s(FINALISTS)
    minutes = minutes_to_decide(noise, _TYPICAL_GAIN, config.confirmation)
    return math.inf if minutes is None else 60.0 * minutes


def fetch_repository(config: Config, *, results: Path, progress: Progress) -> Path:
    """Fetches the model and builds its Triton model repository under `results/model_repository/`.

    Returns:
        The model's folder in it.

    Raises:
        ModelSourceError: The model cannot be had or served.
    """
    tracking_uri = open_tracking(config, results=results, progress=progress)
    with temporary_folder() as folder:
        prepared = prepare(config, into=folder, tracking_uri=tracking_uri, server_cores=server_cores(config))
        for note in prepared.notes:
            progress.note(note)
        root = results / "model_repository"
        return write_repository(root, prepared.artifact, delivered_config(prepared, prepared.plan.default))


def seed(config: Config, *, results: Path) -> str:
    """Registers the sample model in the MLflow of the configuration, where that has none yet; says what it did.

    Raises:
        OutputError: MLflow cannot be reached, or does not take it.
    """
    store = resolve_tracking(config, results)
    if not store.configured:
        _check_writable(results)
    done = seed_sample_model(store.tracking_uri, sample_repository(), config.mlflow.experiment, config=config)
    what = "registered" if done else "is there already; nothing was done"
    return f"{SAMPLE_URI} in {without_credentials(store.tracking_uri)}: {what}"


def _asks_for_sample(config: Config) -> bool:
    """Whether the model is what `seed_sample_model` registers, under either of its names."""
    return config.model.uri in (SAMPLE_URI, f"models:/{SAMPLE_MODEL}/1")

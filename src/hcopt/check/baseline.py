"""What `hcopt check` compares: the golden configuration and its baseline, with their load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.errors import ConfigError
from hcopt.model import triton_config
from hcopt.model.fetch import fetch_model
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelArtifact
from hcopt.records.run import RunRecord
from hcopt.records.verdict import ConfirmedVariant
from hcopt.store.run_folder import RunFolder, find_run, read_record
from hcopt.system.files import write_whole
from hcopt.tracking.last_answer import GoldenAnswer, VersionAnswer, read_answer
from hcopt.tracking.values import MLFLOW_RUN_TAG
from hcopt.words.digits import whole_throughput
from hcopt.words.notes import sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the golden configuration is compared with.

    Attributes:
        uri: The model with its configuration beside it.
        load: Under which both are measured.
        said: Where it comes from, in a sentence's part.
    """

    uri: str
    load: LoadPoint
    said: str


def find_baseline(reference: str, config: Config, *, results: Path, tracking_uri: str, scratch: Path) -> Baseline:
    """A run's golden configuration at its best load, or that of a registered version's last run.

    A model about which hcopt has said nothing has the configuration beside it, at the highest load of the sweep.

    Args:
        reference: A run, or a model's URI.
        config: MLflow, S3 and the sweep's loads.
        results: Where runs are.
        tracking_uri: The MLflow of `models:/`.
        scratch: A folder of the check's own, for what is fetched.

    Raises:
        ConfigError: There is no such run, or it has no golden configuration.
        ModelSourceError: The model, or the answer that it names, cannot be had.
    """
    if ":/" not in reference or Path(reference).exists():
        folder = find_run(reference, results=results)
        _, best, golden = golden_of(folder, remedy="Give a run that has one, or a model as models:/NAME@alias.")
        said = f"run {folder.run_id}, {best.variant.config_name}"
        return Baseline(uri=str(golden), load=best.load, said=said)
    if not reference.startswith("models:"):
        return Baseline(uri=reference, load=_highest_load(config), said=reference)
    return _of_version(reference, config, tracking_uri=tracking_uri, scratch=scratch)


def golden_of(folder: RunFolder, *, remedy: str) -> tuple[RunRecord, ConfirmedVariant, Path]:
    """A run's record, its best configuration, and the folder of the model with it.

    Raises:
        ConfigError: The run has no golden configuration.
    """
    record = read_record(folder)
    best, golden = record.confirmation.best, folder.golden / record.model.name
    if best is None or not golden.is_dir():
        raise ConfigError(
            f"run {record.run_id} has no golden configuration: {sentence(record.confirmation.reason)}", remedy=remedy
        )
    return record, best, golden


def _of_version(uri: str, config: Config, *, tracking_uri: str, scratch: Path) -> Baseline:
    model = config.model.model_copy(update={"uri": uri, "name": None})
    artifact = fetch_model(config.model_copy(update={"model": model}), into=scratch, tracking_uri=tracking_uri)
    version = artifact.registered_version
    answer = None if version is None else read_answer(version, tracking_uri=tracking_uri, config=config)
    named = f"{uri} (version {artifact.version})"
    place = str(artifact.folder / artifact.onnx_file)
    if answer is None or answer.golden is None:
        return Baseline(uri=place, load=_highest_load(config), said=f"{named}: {_own(artifact, answer)}")
    if answer.golden.variant is not None:
        raise ConfigError(
            f"{named}: its golden configuration (run {answer.run_id}) serves the variant {answer.golden.variant}, a "
            "file that the registry does not have",
            remedy="Give that run, or its folder golden/, as --baseline; or register the file.",
        )
    # Beside the ONNX file, where it comes before every other.
    write_whole(artifact.folder / triton_config.CONFIG_FILE, answer.golden.config_pbtxt)
    return Baseline(uri=place, load=answer.golden.load, said=f"{named}: {_golden(answer, answer.golden)}")


def _highest_load(config: Config) -> LoadPoint:
    return LoadPoint(concurrency=max(config.sweep.concurrency), client_batch_size=max(config.sweep.client_batch_size))


def _golden(answer: VersionAnswer, golden: GoldenAnswer) -> str:
    return (
        f"{golden.config_name}, the golden configuration of run {answer.run_id} (verdict {answer.verdict}; MLflow run "
        f"{answer.mlflow_run_id}), which had {whole_throughput(golden.throughput_infer_per_s)} infer/s and a p99 of "
        f"{golden.latency_p99_ms:.2f} ms on {golden.cpu_model}; only what is measured here counts"
    )


def _own(artifact: ModelArtifact, answer: VersionAnswer | None) -> str:
    which = (
        "a configuration derived from the ONNX file"
        if artifact.config_pbtxt is None
        else f"the {triton_config.CONFIG_FILE} beside the model"
    )
    if answer is None:
        return f"{which}, since no run of hcopt has left an answer with this version (no tag {MLFLOW_RUN_TAG})"
    return f"{which}, since run {answer.run_id} found no configuration that meets its limit"


def model_folder(golden: Path) -> Path:
    """The folder itself where it is a model's, else the only one in it.

    Raises:
        ConfigError: There is none, or more than one.
    """
    config = triton_config.CONFIG_FILE
    if (golden / config).is_file():
        return golden
    found = sorted(path.parent for path in golden.glob(f"*/{config}"))
    if len(found) == 1:
        return found[0]
    many = f"holds {len(found)}: {', '.join(path.name for path in found)}" if found else f"has no {config}"
    raise ConfigError(
        f"--golden {golden} {many}", remedy="Give the model's folder, with config.pbtxt and 1/model.onnx in it."
    )

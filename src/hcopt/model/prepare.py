"""Prepares all that a sweep needs: the model, its default configuration, the rows to send, the plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcopt.analysis.plan import plan_sweep
from hcopt.config.sections import Config
from hcopt.errors import ConfigError
from hcopt.model import triton_config
from hcopt.model.backend_rules import check_swept, parameter_notes
from hcopt.model.base_config import BaseConfiguration, base_configuration
from hcopt.model.batch_check import check_servable
from hcopt.model.fetch import fetch_model
from hcopt.model.inputs.build import build_load
from hcopt.model.inputs.values import LoadData
from hcopt.model.onnx_file import has_batch_dimension
from hcopt.model.output_rows import corrected_copy, correction_note, outputs_with_fixed_rows
from hcopt.model.triton_config import variant_of
from hcopt.model.variants import Original, model_variants, variant_notes
from hcopt.records.measurement import SweepPlan
from hcopt.records.model import ModelArtifact, ModelConfigVariant
from hcopt.records.note import Note
from hcopt.words.notes import sentence

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# The longest that rows are run before anything is measured: of synthetic ones, which are all of a kind, a few tell.
_EXAMPLE_CHECK_S = 10.0
_SYNTHETIC_CHECK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the stages before the first measurement have found out.

    Attributes:
        artifact: The model, fetched.
        base: The default configuration.
        load: The rows to send.
        plan: What to measure.
        notes: What the user has to know.
    """

    artifact: ModelArtifact
    base: BaseConfiguration
    load: LoadData
    plan: SweepPlan
    notes: tuple[Note, ...]


def prepare(config: Config, *, into: Path, tracking_uri: str, server_cores: int | None = None) -> Prepared:
    """Fetches the model and plans the sweep.

    Args:
        config: The configuration.
        into: A folder for the model's files.
        tracking_uri: The MLflow that `models:/` and `runs:/` refer to.
        server_cores: CPUs that the server will have; None where nobody knows.

    Raises:
        ModelSourceError: The model cannot be had or served.
        ConfigError: The sweep has no points or a parameter that the backend does not take, an input's shape is open,
            there is no version to promote, outputs are to be corrected that are right, a variant of the model has the
            name of another file, or a remote server's memory is limited.
        OutputError: A corrected copy or a variant cannot be written.
    """
    if config.profiler.kind == "model-analyzer" and config.profiler.max_minutes is not None:
        raise ConfigError(
            "profiler.max_minutes is a budget for the adaptive profiler; Model Analyzer measures the whole grid",
            remedy="Add --profiler adaptive, or make the grid under `sweep` smaller.",
        )
    if config.constraints.memory_mb is not None and config.runtime.is_remote:
        raise ConfigError(
            "constraints.memory_mb cannot be checked on a remote server: its memory cannot be read from here",
            remedy="Give --runtime embedded or docker, or leave the limit out.",
        )
    check_swept(config.sweep.parameters, config.instance_kind)
    _check_accelerators(config)
    artifact = fetch_model(config, into=into, tracking_uri=tracking_uri)
    if config.mlflow.promote_alias is not None and artifact.registered_version is None:
        raise ConfigError(
            f"{artifact.source_uri} is no version in a registry, so it cannot get the alias "
            f"{config.mlflow.promote_alias!r}",
            remedy="Give model.uri as models:/NAME@alias or models:/NAME/VERSION, or leave out --promote.",
        )
    artifact, corrected = _corrected(config, artifact, into=into)
    claimed = has_batch_dimension(artifact.signature)
    base, load = _base_and_load(config, artifact, batchable=claimed)
    is_example = load.origin == "input example"
    check = check_servable(
        artifact.folder / artifact.onnx_file,
        artifact.signature,
        load.rows,
        row_check_s=_EXAMPLE_CHECK_S if is_example else _SYNTHETIC_CHECK_S,
    )
    if corrected and not check.batchable:
        raise ConfigError(
            f"model.correct_outputs: the outputs of {artifact.source_uri} do not have one row for each row of its "
            f"inputs: {sentence(check.reason) if check.reason else ''}",
            remedy="Leave the key out: the file declares its outputs rightly.",
        )
    if check.batchable != claimed or check.signature != artifact.signature:
        # What the file leaves open and ONNX Runtime knows belongs into config.pbtxt: the native backend compares.
        artifact = replace(artifact, signature=check.signature)
        base, load = _base_and_load(config, artifact, batchable=check.batchable)
    original = Original(artifact=artifact, config=base.config, load=load, batchable=check.batchable)
    variants = model_variants(config, original, into=into, tracking_uri=tracking_uri)
    artifact = replace(artifact, variants=variants)
    default = variant_of(base.config, f"{artifact.name}_config_default")
    plan = plan_sweep(
        config.sweep,
        default,
        model_name=artifact.name,
        instance_kind=config.instance_kind,
        server_cores=server_cores,
        model_files=tuple(variant.model_file for variant in artifact.measured_variants),
    )
    checked = [note for note in (check.sampled if is_example else None, check.reason) if note is not None]
    parameters = parameter_notes(base.config.parameters)
    of_the_model = (*artifact.notes, *corrected, *base.notes, *_of_the_server(base))
    notes = (*of_the_model, *load.notes, *checked, *parameters, *variant_notes(variants))
    return Prepared(artifact=artifact, base=base, load=load, plan=plan, notes=(*notes, *plan.notes))


def _check_accelerators(config: Config) -> None:
    """Refuses OpenVINO where it cannot compete on equal terms, whatever the server has."""
    if "openvino" not in config.sweep.execution_accelerator:
        return
    if config.instance_kind == "KIND_GPU":
        raise ConfigError(
            "sweep.execution_accelerator lists openvino, which is for CPUs, and instance_kind is KIND_GPU",
            remedy="Leave openvino out.",
        )
    if config.runtime.is_remote:
        raise ConfigError(
            "sweep.execution_accelerator lists openvino, and runtime.kind is remote: nobody here knows how many "
            "threads OpenVINO takes there, so that it would not be compared on equal terms",
            remedy="Give --runtime embedded or docker, or leave openvino out.",
        )


def _of_the_server(base: BaseConfiguration) -> Iterator[Note]:
    """What Triton makes of the configuration, whatever the model."""
    if stall_s := triton_config.queue_stall_s(base.config):
        yield Note.of("queue_stalls", stall_s=stall_s)
    if triton_config.has_rate_limiter(base.config):
        yield Note.of("rate_limiter_unheeded")


def _corrected(config: Config, artifact: ModelArtifact, *, into: Path) -> tuple[ModelArtifact, tuple[Note, ...]]:
    """The model, or a corrected copy of it where that is asked for and there is something to correct."""
    if not config.model.correct_outputs or not outputs_with_fixed_rows(artifact.signature):
        return artifact, ()
    if config.mlflow.promote_alias is not None:
        raise ConfigError(
            f"the alias {config.mlflow.promote_alias!r} would go to the file in the registry, and what is measured "
            "with model.correct_outputs is a corrected copy of it",
            remedy="Register the corrected copy, which the run leaves in results/golden/, and promote that; or leave "
            "out --promote.",
        )
    copy = corrected_copy(artifact, into / f"{artifact.name}_corrected")
    return copy, (correction_note(artifact, copy),)


def _base_and_load(config: Config, artifact: ModelArtifact, *, batchable: bool) -> tuple[BaseConfiguration, LoadData]:
    base = base_configuration(artifact, batchable=batchable, instance_kind=config.instance_kind)
    load = build_load(
        artifact,
        base.config,
        input_shapes=config.model.input_shapes,
        input_example=config.model.input_example,
        seed=config.profiler.seed,
    )
    return base, load


def variant_config(prepared: Prepared, variant: ModelConfigVariant) -> ModelConfig:
    """A variant's configuration as it is measured; the default's is the user's own but for warm-up and cache."""
    if variant == prepared.plan.default:
        return prepared.base.config
    return triton_config.apply_variant(prepared.base.config, variant, prepared.plan.instance_kind)


def delivered_config(prepared: Prepared, variant: ModelConfigVariant) -> ModelConfig:
    """A variant's configuration as it is handed over, with the user's warm-up and cache; the default's is their own."""
    config = triton_config.with_warm_up(variant_config(prepared, variant), prepared.base.warm_up)
    if prepared.base.response_cache:
        config.response_cache.enable = True
    return config


def config_text(prepared: Prepared, variant: ModelConfigVariant) -> str:
    """A variant's config.pbtxt as it is handed over."""
    return triton_config.to_text(delivered_config(prepared, variant))


def config_json(prepared: Prepared, variant: ModelConfigVariant) -> str:
    """A variant's configuration as it is measured, as Triton's load request takes it."""
    return triton_config.to_json(variant_config(prepared, variant))

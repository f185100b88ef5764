"""The model, and the configurations of it that are compared. Shapes are those of ONNX: -1 is a dynamic dimension."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hcopt.records.note import Note

InstanceKind = Literal["KIND_CPU", "KIND_GPU"]
# What distinguishes one configuration from others, see `ModelConfigVariant.settings`.
Settings = tuple[int, int, int, tuple[tuple[str, str], ...], bool, tuple[int, ...], str, str]
# What Triton serves where config.pbtxt names no `default_model_filename`.
MODEL_FILE = "model.onnx"
# What may compute in the place of ONNX Runtime's own CPU kernels, by Triton's name.
ExecutionAccelerator = Literal["none", "openvino"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: The tensor's name.
        datatype: Triton's name of the type without prefix: FP32, INT64, BYTES …
        shape: As the model declares it, the batch dimension included; -1 is dynamic.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """All inputs and outputs of a model, in its own order.

    Attributes:
        inputs: Those that every request has to have.
        outputs: All.
        optional_inputs: Those with a value of their own in the graph, which a request may replace.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    optional_inputs: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A version in the MLflow model registry."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDifference:
    """How far an output is from the model's own on the same rows.

    Attributes:
        output: The output's name.
        max_difference: The largest difference of two numbers; None for labels (integers, strings, booleans).
        mean_difference: The mean over all; None for labels.
        spread: What these are to be seen against: the largest of the model's own numbers less the smallest; their size
            where they are all the same, and 1 where that is 0. None for labels.
        agreement_ratio: Of labels, the share that is the same; else None.
        incomparable: Values with nothing to compare them with: NaN or infinite on one side alone, or in a row where the
            output has another shape.
    """

    output: str
    incomparable: int = 0
    max_difference: float | None = None
    mean_difference: float | None = None
    spread: float | None = None
    agreement_ratio: float | None = None

    @property
    def max_ratio(self) -> float | None:
        """The largest difference as a share of the spread."""
        return None if self.max_difference is None or self.spread is None else self.max_difference / self.spread

    @property
    def mean_ratio(self) -> float | None:
        """The mean difference as a share of the spread."""
        return None if self.mean_difference is None or self.spread is None else self.mean_difference / self.spread


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVariant:
    """Another ONNX file that is to answer as the model does, faster: quantized, optimized, or made elsewhere.

    Attributes:
        name: As in `model.variants`.
        origin: How it came: a URI, `quantize: dynamic` or `optimize: true`.
        sha256: As `ModelArtifact.sha256`; empty where there is no file.
        folder: Local folder that holds `files`.
        onnx_file: The ONNX file, relative to `folder`.
        files: The ONNX file first, then its external-data files.
        outputs: How far its answers are from the model's.
        outputs_note: The same as a sentence, with the rows that it holds for; None where nothing was compared.
        batch_note: What its rows owe to their neighbours in a batch; None where that is nothing.
        refused: Why it is not measured; None where it is.
    """

    name: str
    origin: str
    sha256: str = ""
    folder: Path = Path()
    onnx_file: str = ""
    files: tuple[str, ...] = ()
    outputs: tuple[OutputDifference, ...] = ()
    outputs_note: Note | None = None
    batch_note: Note | None = None
    refused: Note | None = None

    @property
    def model_file(self) -> str:
        """Its ONNX file's name in the version's folder, beside the model's own."""
        return f"{self.name}.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtifact:
    """A model that has been fetched into a local folder.

    Attributes:
        name: The model's name on the server; a valid folder name.
        source_uri: Where it came from, as the user wrote it.
        version: The source's own version, where it has one.
        sha256: Over the ONNX file and its external data, in the order of `files`.
        folder: Local folder that holds `files`.
        onnx_file: The ONNX file, relative to `folder`.
        files: The ONNX file first, then its external-data files, relative to `folder`.
        signature: Inputs and outputs as the ONNX graph declares them.
        config_pbtxt: The text of the config.pbtxt that came with the model, or None.
        input_example: A JSON file of example rows that came with the model, or None.
        registered_version: The registry's entry, where the model came from one.
        version_folder: The folder in a Triton repository that the model's own version_policy serves.
        named_files: What config.pbtxt names beside that folder (labels, warm-up data): paths in the model's folder.
        named_folder: Local folder that holds `named_files`.
        notes: What the user has to know of the way it came.
        variants: Its variants, those that are not measured too.
    """

    name: str
    source_uri: str
    version: str | None
    sha256: str
    folder: Path
    onnx_file: str
    files: tuple[str, ...]
    signature: ModelSignature
    config_pbtxt: str | None = None
    input_example: Path | None = None
    registered_version: RegisteredVersion | None = None
    version_folder: str = "1"
    named_files: tuple[str, ...] = ()
    named_folder: Path | None = None
    notes: tuple[Note, ...] = ()
    variants: tuple[ModelVariant, ...] = ()

    @property
    def measured_variants(self) -> tuple[ModelVariant, ...]:
        """Those whose answers are the model's, within the tolerance."""
        return tuple(variant for variant in self.variants if variant.refused is None)

    def variant_in(self, model_file: str) -> ModelVariant | None:
        """The variant that a configuration with this `default_model_filename` serves; None for the model itself."""
        return next((variant for variant in self.measured_variants if variant.model_file == model_file), None)

    def outputs_note(self, model_file: str) -> Note | None:
        """How far the answers of what a configuration serves are from the model's; None for the model itself."""
        variant = self.variant_in(model_file)
        return None if variant is None else variant.outputs_note

    def served_from(self, model_file: str) -> ModelArtifact:
        """What a configuration with this `default_model_filename` serves, as a model without variants."""
        found = self.variant_in(model_file)
        if found is None:
            return replace(self, variants=())
        return replace(
            self,
            sha256=found.sha256,
            folder=found.folder,
            onnx_file=found.onnx_file,
            files=found.files,
            registered_version=None,
            variants=(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfigVariant:
    """A model configuration variant: what the sweep sets, and the name it goes by.

    Attributes:
        config_name: `<model>_config_default` or `<model>_config_<N>`, with `_<name>` for a variant of the model.
        max_batch_size: 0 for a model that cannot batch.
        instance_count: Instances of the model on this server.
        max_queue_delay_us: Longest wait of dynamic batching; 0 sends what is there at once.
        parameters: Further `parameters` of config.pbtxt, as (key, value) pairs sorted by key.
        dynamic_batching: Whether the server may put requests together; True where `max_batch_size` is 0. Only a
            user's configuration without `dynamic_batching` has it False: a delay of 0 is another thing.
        preferred_batch_sizes: Batches of these sizes go at once, in ascending order; none where there is no such wish.
        model_file: `default_model_filename` of config.pbtxt; empty where that leaves it out, for Triton's model.onnx.
        execution_accelerator: The `cpu_execution_accelerator` of config.pbtxt.
    """

    config_name: str
    max_batch_size: int
    instance_count: int
    max_queue_delay_us: int
    parameters: tuple[tuple[str, str], ...] = ()
    dynamic_batching: bool = True
    preferred_batch_sizes: tuple[int, ...] = ()
    model_file: str = ""
    execution_accelerator: ExecutionAccelerator = "none"

    def __post_init__(self) -> None:
        if self.max_batch_size < 0 or self.instance_count < 1 or self.max_queue_delay_us < 0:
            raise ValueError(f"not a model configuration: {self}")

    @property
    def settings(self) -> Settings:
        """What distinguishes this variant from others; two variants with equal settings are the same one."""
        return (
            self.max_batch_size,
            self.instance_count,
            self.max_queue_delay_us,
            self.parameters,
            self.dynamic_batching,
            self.preferred_batch_sizes,
            self.model_file,
            self.execution_accelerator,
        )

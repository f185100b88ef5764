"""The keys of config.yaml, with their types, ranges and defaults; what they mean is said by its comments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from hcopt.records.json import JsonObject
from hcopt.records.model import ExecutionAccelerator, InstanceKind
from hcopt.system.redaction import without_credentials

# Strict: YAML's `yes` and `on` would otherwise count as 1.
PositiveInt = Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]
# Of length zero too: an empty cache.
Dimension = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
# Triton keeps these counts in 32 bits.
Count = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
ParameterInt = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Number = Annotated[float, Field(strict=True)]
Ratio = Annotated[Number, Field(ge=0, le=1)]
Price = Annotated[Number, Field(gt=0)]
KeyPath = tuple[str | int, ...]
# Threads of an instance as a share of the server's cores.
ThreadShare = Literal["auto", "auto/2", "auto*2"]


def _public(text: str | None) -> str | None:
    """A configuration is written into the run's files, which are no place for a login."""
    return None if text is None else without_credentials(text)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class ModelVariantSection(_Section):
    uri: str | None = Field(None, min_length=1)
    quantize: Literal["dynamic"] | None = None
    optimize: Annotated[bool, Field(strict=True)] = False

    _public_uri = field_serializer("uri")(_public)

    @model_validator(mode="after")
    def _one(self) -> ModelVariantSection:
        if [self.uri is not None, self.quantize is not None, self.optimize].count(True) != 1:
            raise ValueError("expected one of uri, quantize: dynamic, optimize: true")
        return self


class ToleranceSection(_Section):
    max_difference_ratio: Annotated[Number, Field(ge=0)] = 0.05
    min_agreement_ratio: Ratio = 0.99


# A variant's file is called so, before `.onnx`.
VariantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]


class ModelSection(_Section):
    uri: str = Field("models:/HomeCreditDefaultModel@prod", min_length=1)
    name: str | None = None
    input_shapes: dict[str, tuple[Dimension, ...]] = Field(default_factory=dict)
    input_example: str = "auto"
    correct_outputs: Annotated[bool, Field(strict=True)] = False
    variants: dict[VariantName, ModelVariantSection] = Field(default_factory=dict)
    tolerance: ToleranceSection = ToleranceSection()

    _public_uri = field_serializer("uri")(_public)


_CPU_LIST = r"^(auto|[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)$"


class CpusetSection(_Section):
    server: str | None = Field("auto", pattern=_CPU_LIST)
    client: str | None = Field("auto", pattern=_CPU_LIST)

    @field_validator("server", "client", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """A single CPU without quotes is a number to YAML."""
        return str(value) if type(value) is int else value

    @property
    def is_auto(self) -> bool:
        """Whether hcopt is to divide the CPUs where there are enough."""
        return self.server == self.client == "auto"


class DockerSection(_Section):
    release: str = Field("26.09", pattern=r"^[0-9]{2}\.[0-9]{2}$")
    memory_mb: PositiveInt | None = None

    @field_validator("release", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """26.10 without quotes is a number to YAML, and has lost its last digit; a month always has two."""
        return f"{value:05.2f}" if isinstance(value, float) else value


class RemoteSection(_Section):
    grpc: str | None = None
    http: str | None = None
    metrics: str | None = None

    _public_urls = field_serializer("grpc", "http", "metrics")(_public)


class RuntimeSection(_Section):
    kind: Literal["auto", "embedded", "docker", "remote"] = "auto"
    cpuset: CpusetSection = CpusetSection()
    docker: DockerSection = DockerSection()
    remote: RemoteSection = RemoteSection()

    @property
    def is_remote(self) -> bool:
        """Whether the server is somebody else's, and not started here."""
        return self.kind == "remote"


class ProfilerSection(_Section):
    kind: Literal["model-analyzer", "adaptive"] = "model-analyzer"
    measurement_interval_ms: Annotated[int, Field(ge=100, le=600_000, strict=True)] = 1000
    max_minutes: Annotated[Number, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)] = 0


class SweepSection(_Section):
    max_batch_size: tuple[Count, ...] = (8, 16)
    instance_count: tuple[Count, ...] = (1, 2)
    # Ascending, as Model Analyzer takes them.
    intra_op_thread_count: tuple[ThreadShare | Count, ...] = ("auto/2", "auto", "auto*2")
    max_queue_delay_us: tuple[Annotated[int, Field(ge=0, le=10_000_000, strict=True)], ...] = (0, 500)
    preferred_batch_size: tuple[tuple[Count, ...], ...] = ()
    execution_accelerator: tuple[ExecutionAccelerator, ...] = ()
    concurrency: tuple[Annotated[int, Field(ge=1, le=4096, strict=True)], ...] = (8, 32)
    client_batch_size: tuple[Count, ...] = (1,)
    parameters: dict[str, tuple[str | ParameterInt | float | bool, ...]] = Field(default_factory=dict)


class ConstraintsSection(_Section):
    latency_p99_ms: Annotated[Number, Field(gt=0)] | None = 50.0
    memory_mb: Annotated[Number, Field(gt=0)] | None = None


class NoiseSection(_Section):
    gate: Literal["off", "warn", "strict"] = "warn"
    max_steal_ratio: Ratio = 0.05
    max_throttled_ratio: Ratio = 0.05
    max_block_cv_ratio: Ratio = 0.15

    @field_validator("gate", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """`off` without quotes is a false to YAML."""
        return "off" if value is False else value


class ConfirmationSection(_Section):
    max_minutes: Annotated[Number, Field(gt=0)] = 4
    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = 0.01
    indifference_ratio: Annotated[Number, Field(gt=0, lt=0.5)] = 0.02
    onnxruntime_alone: Annotated[bool, Field(strict=True)] = True


class CapacitySection(_Section):
    max_minutes: Annotated[Number, Field(ge=0)] = 1.5


class S3Section(_Section):
    endpoint_url: str | None = Field(None, repr=False)
    region: str | None = None
    path_style: bool = True
    ca_bundle: str | None = None
    timeout_s: Annotated[Number, Field(gt=0)] = 600

    _public_url = field_serializer("endpoint_url")(_public)


class MlflowSection(_Section):
    tracking_uri: str | None = Field(None, repr=False)
    ca_bundle: str | None = None
    experiment: str = Field("hcopt", min_length=1)
    promote_alias: str | None = None
    migrate_database: bool = False

    _public_uri = field_serializer("tracking_uri")(_public)


class ReportSection(_Section):
    language: Literal["ko", "en"] = "ko"
    price_per_hour: Price | dict[str, Price] | None = None

    def price_of(self, cpu_model: str) -> float | None:
        """The price of a machine with this CPU; of several that fit, the first one's."""
        if not isinstance(self.price_per_hour, dict):
            return self.price_per_hour
        return next((price for part, price in self.price_per_hour.items() if part in cpu_model), None)


class ExecutorSection(_Section):
    kind: Literal["local", "ray"] = "local"
    address: str = Field("auto", min_length=1)
    package: Literal["bring", "installed"] = "bring"
    silence_s: Annotated[Number, Field(ge=15)] = 60


class _ModelKeys(_Section):
    """The keys that may differ from model to model."""

    profiler: ProfilerSection = ProfilerSection()
    sweep: SweepSection = SweepSection()
    instance_kind: InstanceKind = "KIND_CPU"
    constraints: ConstraintsSection = ConstraintsSection()
    noise: NoiseSection = NoiseSection()
    confirmation: ConfirmationSection = ConfirmationSection()
    capacity: CapacitySection = CapacitySection()


class ModelEntry(_ModelKeys):
    """One of several models: what it has of its own. Keys that are left out are those of the whole file."""

    model: ModelSection

    @field_validator("model")
    @classmethod
    def _named(cls, value: ModelSection) -> ModelSection:
        if "uri" not in value.model_fields_set:
            raise ValueError("uri is missing: which model is it?")
        return value

    @model_serializer(mode="wrap")
    def _own(self, serialize: SerializerFunctionWrapHandler) -> JsonObject:
        """Without what is left out: read again, that would count as its own."""
        written: JsonObject = serialize(self)
        return {key: _given(getattr(self, key), written[key]) for key in written if key in self.model_fields_set}


def _given(section: object, written: Any) -> Any:
    if not isinstance(section, BaseModel):
        return written
    return {key: value for key, value in written.items() if key in section.model_fields_set}


class Config(_ModelKeys):
    """All of config.yaml. Every key has a default; units are in the names."""

    model: ModelSection = ModelSection()
    runtime: RuntimeSection = RuntimeSection()
    s3: S3Section = S3Section()
    mlflow: MlflowSection = MlflowSection()
    report: ReportSection = ReportSection()
    executor: ExecutorSection = ExecutorSection()
    models: tuple[ModelEntry, ...] = ()

    _dotenv: Mapping[str, SecretStr] = PrivateAttr(default_factory=dict)

    @property
    def dotenv(self) -> Mapping[str, SecretStr]:
        """What only .env says to MLflow's and Amazon's clients, by the variable's name; never written anywhere."""
        return self._dotenv

    def each(self) -> tuple[Config, ...]:
        """The configuration of each model, in order; this one where there are no `models`."""
        return tuple(self._of(entry) for entry in self.models) or (self,)

    def _of(self, entry: ModelEntry) -> Config:
        own: dict[str, object] = {"models": ()}
        for key in entry.model_fields_set:
            given, shared = getattr(entry, key), getattr(self, key)
            # A model is described by its entry alone: a name or a shape of another one would be wrong.
            if key == "model" or not isinstance(given, BaseModel):
                own[key] = given
            else:
                own[key] = shared.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})
        return self.model_copy(update=own)

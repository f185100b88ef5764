"""The keys of config.yaml, with their types, ranges and defaults."""

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
)

from hcopt.records.json import JsonObject
from hcopt.records.model import InstanceKind
from hcopt.system.redaction import without_credentials

# Strict: YAML's `yes` and `on` would otherwise count as 1.
PositiveInt = Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]
# Triton keeps these counts in 32 bits.
Count = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
ParameterInt = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Number = Annotated[float, Field(strict=True)]
Ratio = Annotated[Number, Field(ge=0, le=1)]
Price = Annotated[Number, Field(gt=0)]
KeyPath = tuple[str | int, ...]


def _public(text: str | None) -> str | None:
    """A configuration is written into the run's files, which are no place for a login."""
    return None if text is None else without_credentials(text)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class ModelSection(_Section):
    """Which model, and what its inputs look like where the model itself leaves that open."""

    uri: str = Field(
        "models:/HomeCreditDefaultModel@prod",
        min_length=1,
        description="models:/NAME@alias, models:/NAME/VERSION, runs:/ID/path, s3://bucket/key-or-prefix, "
        "or a local folder or file.",
    )
    name: str | None = Field(None, description="Name on the server; null takes the source's own.")
    input_shapes: dict[str, tuple[PositiveInt, ...]] = Field(
        default_factory=dict,
        description="Shape of one row (without the batch dimension) for each input whose dimensions are dynamic.",
    )
    input_example: str = Field(
        "auto",
        description="Rows to use as load: auto (the example that came with the model, else synthetic rows), "
        "none (always synthetic), or the path of a JSON file.",
    )

    _public_uri = field_serializer("uri")(_public)


class CpusetSection(_Section):
    """CPU lists as Linux writes them, such as 0-3,8; null leaves the choice to the kernel."""

    server: str | None = Field(None, pattern=r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$")
    client: str | None = Field(None, pattern=r"^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$")


class DockerSection(_Section):
    """The Docker runtime."""

    release: str = Field(
        "26.09",
        pattern=r"^[0-9]{2}\.[0-9]{2}$",
        description="Release of NVIDIA's Triton images; 25.05 to 25.11 have no Model Analyzer.",
    )
    memory_mb: PositiveInt | None = Field(None, description="Memory limit of the server, in MB.")

    @field_validator("release", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """26.10 without quotes is a number to YAML, and has lost its last digit; a month always has two."""
        return f"{value:05.2f}" if isinstance(value, float) else value


class RemoteSection(_Section):
    """A Triton that already runs in explicit model-control mode, with the model in its own repository."""

    grpc: str | None = Field(None, description="host:port; also --endpoint grpc://host:port.")
    http: str | None = Field(None, description="host:port; null: the port before that of grpc.")
    metrics: str | None = Field(None, description="URL; null: /metrics at the port after that of grpc.")

    _public_urls = field_serializer("grpc", "http", "metrics")(_public)


class RuntimeSection(_Section):
    """Where Triton runs."""

    kind: Literal["auto", "embedded", "docker", "remote"] = "auto"
    cpuset: CpusetSection = CpusetSection()
    docker: DockerSection = DockerSection()
    remote: RemoteSection = RemoteSection()

    @property
    def is_remote(self) -> bool:
        """Whether the server is somebody else's, and not started here."""
        return self.kind == "remote"


class ProfilerSection(_Section):
    """Who measures the sweep."""

    kind: Literal["model-analyzer", "adaptive"] = "model-analyzer"
    measurement_interval_ms: Annotated[int, Field(ge=100, le=600_000, strict=True)] = Field(
        1000, description="Length of one measurement window, in ms (100-600000)."
    )
    max_minutes: Annotated[Number, Field(gt=0)] | None = Field(
        None, description="Budget of an adaptive search, in minutes."
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)] = Field(
        0, description="Seed of everything that is drawn."
    )


class SweepSection(_Section):
    """The grid; every combination is measured at every concurrency."""

    max_batch_size: tuple[Count, ...] = (8, 16)
    instance_count: tuple[Count, ...] = (1, 2)
    max_queue_delay_us: tuple[Annotated[int, Field(ge=0, le=10_000_000, strict=True)], ...] = (0, 500)
    preferred_batch_size: tuple[tuple[Count, ...], ...] = Field(
        (), description="Lists of preferred batch sizes, e.g. [[], [4, 8]]; none leaves them as config.pbtxt has them."
    )
    concurrency: tuple[Annotated[int, Field(ge=1, le=4096, strict=True)], ...] = (8, 32)
    client_batch_size: tuple[Count, ...] = (1,)
    parameters: dict[str, tuple[str | ParameterInt | float | bool, ...]] = Field(
        default_factory=dict,
        description="Further config.pbtxt parameters, e.g. intra_op_thread_count: [auto, 1]; auto there is "
        "max(1, floor(server cores / instances)).",
    )


class ConstraintsSection(_Section):
    """What a configuration has to keep."""

    latency_p99_ms: Annotated[Number, Field(gt=0)] | None = Field(50.0, description="p99 limit in ms; null: none.")


class NoiseSection(_Section):
    """The default measured against itself before the sweep (A/A), and when the machine counts as too noisy."""

    gate: Literal["off", "warn", "strict"] = Field(
        "warn", description="off: no A/A measurement; warn: say so and measure longer; strict: refuse to go on."
    )
    max_steal_ratio: Ratio = Field(0.05, description="CPU time taken by the hypervisor, 0-1.")
    max_throttled_ratio: Ratio = Field(0.05, description="Time held back by a CPU quota, 0-1.")
    max_block_cv_ratio: Ratio = Field(0.15, description="Coefficient of variation between blocks, 0-1.")

    @field_validator("gate", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """`off` without quotes is a false to YAML."""
        return "off" if value is False else value


class ConfirmationSection(_Section):
    """How the winner is proved."""

    max_minutes: Annotated[Number, Field(gt=0)] = Field(4, description="Longest confirmation, in minutes.")
    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = Field(0.01, description="Family-wise error rate, 0-0.5.")
    indifference_ratio: Annotated[Number, Field(gt=0, lt=0.5)] = Field(
        0.02, description="Differences below this do not matter, 0-0.5."
    )


class CapacitySection(_Section):
    """The open-loop check of the best configuration: the rate that it sustains under Poisson arrivals."""

    max_minutes: Annotated[Number, Field(ge=0)] = Field(1.5, description="Longest check, in minutes; 0: none.")


class S3Section(_Section):
    """An S3 service; credentials come from the environment and .env only."""

    endpoint_url: str | None = Field(
        None, repr=False, description="null: MLFLOW_S3_ENDPOINT_URL, AWS_ENDPOINT_URL, else AWS."
    )
    region: str | None = Field(None, description="null: AWS_REGION, AWS_DEFAULT_REGION.")
    path_style: bool = Field(True, description="The bucket in the path (MinIO, most others); false: in the host name.")
    ca_bundle: str | None = Field(None, description="File of the certificates to trust; null: AWS_CA_BUNDLE.")
    timeout_s: Annotated[Number, Field(gt=0)] = Field(600, description="Longest download of one model, in seconds.")

    _public_url = field_serializer("endpoint_url")(_public)


class MlflowSection(_Section):
    """Tracking and registry; logins come from the environment and .env only."""

    tracking_uri: str | None = Field(
        None, repr=False, description="null: MLFLOW_TRACKING_URI, else SQLite under results/."
    )
    ca_bundle: str | None = Field(
        None, description="File of the certificates to trust; null: MLFLOW_TRACKING_SERVER_CERT_PATH."
    )
    experiment: str = Field("hcopt", min_length=1)
    promote_alias: str | None = Field(None, description="Alias that the model version gets on the verdict `better`.")
    migrate_database: bool = Field(
        False,
        description="Whether a database of an older MLflow may be migrated, which that MLflow cannot open any more.",
    )

    _public_uri = field_serializer("tracking_uri")(_public)


class ReportSection(_Section):
    """The report."""

    language: Literal["ko", "en"] = "ko"
    price_per_hour: Price | dict[str, Price] | None = Field(
        None,
        description="Price of one pod for one hour; or of each kind of machine, by a part of the CPU's name.",
    )

    def price_of(self, cpu_model: str) -> float | None:
        """The price of a machine with this CPU; of several that fit, the first one's."""
        if not isinstance(self.price_per_hour, dict):
            return self.price_per_hour
        return next((price for part, price in self.price_per_hour.items() if part in cpu_model), None)


class ExecutorSection(_Section):
    """Where the stages of a run are measured: on this machine, or on the nodes of a cluster."""

    kind: Literal["local", "ray"] = Field("local", description="local, or ray: the nodes of a Ray cluster.")
    address: str = Field("auto", min_length=1, description="Of the cluster's head, host:port; auto: where this runs.")
    package: Literal["bring", "installed"] = Field(
        "bring", description="bring: the nodes get hcopt and its dependencies from here; installed: they have them."
    )
    silence_s: Annotated[Number, Field(ge=15)] = Field(
        60, description="A node that gives no sign of life for so long has lost its task, in seconds."
    )


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
    models: tuple[ModelEntry, ...] = Field(
        (), description="Several models in one run: each entry has a `model` and what differs from the keys above."
    )

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

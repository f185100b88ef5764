"""config.yaml, the environment, .env and `--set` become one frozen Config. Nothing else reads the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_serializer,
    field_validator,
    model_serializer,
)

from hcopt.errors import ConfigError
from hcopt.records.schema import InstanceKind, JsonObject
from hcopt.system.redaction import without_credentials

DEFAULT_CONFIG_FILE = Path("config.yaml")
_SEE_CONFIG = "config.yaml in the repository comments every key with its unit and range."
ENV_FILE = Path(".env")

# Strict: YAML's `yes` and `on` would otherwise count as 1.
PositiveInt = Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]
# Triton keeps these counts in 32 bits.
Count = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
ParameterInt = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Number = Annotated[float, Field(strict=True)]
Ratio = Annotated[Number, Field(ge=0, le=1)]
Price = Annotated[Number, Field(gt=0)]
KeyPath = tuple[str | int, ...]

# What PyYAML raises for a text: its own error, whatever the value's constructor stumbles over (2024-13-45 is a date to
# it, `!!int ""` a number), or no end of recursion where an alias stands inside of what it names.
NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)
# Far more than there are keys; a few lines of aliases of aliases would be millions.
_MOST_BYTES = 1 << 18
_MOST_KEYS = 20_000
_NO_TEXT = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null", "timestamp"))
_FAULTS = {
    "extra_forbidden": "unknown key",
    "tuple_type": "expected a list, such as [1, 2]",
    "model_type": "expected keys with values",
    "dict_type": "expected keys with values",
}
# What MLflow's and Amazon's clients look for; the rest of .env is for Docker Compose.
_SERVICE_VARIABLES = ("AWS_", "MLFLOW_")
# Parts of one login: those of .env are never mixed with those of the environment.
_LOGINS = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
)


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


class ProfilerSection(_Section):
    """Who measures the sweep."""

    kind: Literal["model-analyzer", "adaptive"] = "model-analyzer"
    search_mode: Literal["brute"] = Field("brute", description="Model Analyzer's search mode.")
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
    """Where the blocks of a run are measured: on this machine, or on the nodes of a cluster."""

    kind: Literal["local", "ray"] = Field("local", description="local, or ray: the nodes of a Ray cluster.")
    address: str = Field("auto", min_length=1, description="Of the cluster's head, host:port; auto: where this runs.")
    package: Literal["bring", "installed"] = Field(
        "bring", description="bring: the nodes get hcopt and its dependencies from here; installed: they have them."
    )
    silence_s: Annotated[Number, Field(ge=15)] = Field(
        60, description="A node that gives no sign of life for so long has lost its block, in seconds."
    )


class ModelEntry(_Section):
    """One of several models: what it has of its own. Keys that are left out are those of the whole file."""

    model: ModelSection
    profiler: ProfilerSection = ProfilerSection()
    sweep: SweepSection = SweepSection()
    instance_kind: InstanceKind = "KIND_CPU"
    constraints: ConstraintsSection = ConstraintsSection()
    noise: NoiseSection = NoiseSection()
    confirmation: ConfirmationSection = ConfirmationSection()
    capacity: CapacitySection = CapacitySection()

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


class Config(_Section):
    """All of config.yaml. Every key has a default; units are in the names."""

    model: ModelSection = ModelSection()
    runtime: RuntimeSection = RuntimeSection()
    profiler: ProfilerSection = ProfilerSection()
    sweep: SweepSection = SweepSection()
    instance_kind: InstanceKind = "KIND_CPU"
    objective: Literal["throughput"] = "throughput"
    constraints: ConstraintsSection = ConstraintsSection()
    noise: NoiseSection = NoiseSection()
    confirmation: ConfirmationSection = ConfirmationSection()
    capacity: CapacitySection = CapacitySection()
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


def load_config(
    path: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    recorded: JsonObject | None = None,
) -> Config:
    """Reads a configuration.

    Args:
        path: The file; None takes ./config.yaml where there is one, else the defaults.
        overrides: `section.key=value` each, the value in YAML; they win over the file.
        environment: Fills what the file leaves null. Defaults to the process's own, and then to what ./.env says.
        recorded: What a run has kept of its own configuration, in place of any file.

    Raises:
        ConfigError: No such file, not YAML, an unknown key, a wrong type or range; names the key and the line.
    """
    dotenv = _read_dotenv(ENV_FILE) if environment is None else {}
    real = os.environ if environment is None else environment
    dotenv = _beside(dotenv, real)
    if recorded is None:
        source, text = _read(path)
        data, lines = _parse(text, source)
    else:
        source, data, lines = "the run's configuration", deepcopy(recorded), {}
    for override in overrides:
        path_set = _apply(data, override)
        lines = {known: line for known, line in lines.items() if known[: len(path_set)] != path_set}
        lines |= {path_set[:length]: None for length in range(1, len(path_set) + 1) if path_set[:length] not in lines}
    _fill_from_environment(data, {**dotenv, **{name: value for name, value in real.items() if value}})
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise _explained(error, lines, source) from error
    config._dotenv = {name: SecretStr(value) for name, value in dotenv.items()}
    return config


def _read_dotenv(file: Path) -> dict[str, str]:
    """The variables of a .env file, as Docker Compose reads it; empty where there is none."""
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    if not file.is_file():
        return {}
    try:
        with file.open(encoding="utf-8-sig") as stream:
            faults = [binding.original.line for binding in parse_stream(stream) if binding.error]
        values = dotenv_values(file, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}", remedy="Correct the file, or remove it.") from error
    if faults:
        # Never the line itself: it may hold a secret.
        raise ConfigError(f"{file}, line {faults[0]}: expected NAME=value", remedy="See .env.example.")
    return {name: value for name, value in values.items() if value}


def dotenv_file() -> dict[str, str]:
    """All that ./.env says, for those who must not say it; empty where there is none or it cannot be read."""
    try:
        return _read_dotenv(ENV_FILE)
    except ConfigError:
        return {}


def _beside(dotenv: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """What .env adds to the environment for MLflow and S3: no variable and no part of a login that is there already."""
    taken = {name for login in _LOGINS if any(environment.get(part) for part in login) for name in login}
    return {
        name: value
        for name, value in dotenv.items()
        if name.startswith(_SERVICE_VARIABLES) and name not in taken and not environment.get(name)
    }


def _read(path: Path | None) -> tuple[str, str]:
    if path is None and not DEFAULT_CONFIG_FILE.exists():
        return "the defaults", ""
    file = path or DEFAULT_CONFIG_FILE
    try:
        with file.open("rb") as content:
            text = content.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ConfigError(f"{file} has more than {_MOST_BYTES} bytes: that is no configuration", remedy=_SEE_CONFIG)
        return str(file), text.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {file}: {error}", remedy="Give --config FILE.") from error


def _parse(text: str, source: str) -> tuple[JsonObject, dict[KeyPath, int | None]]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[KeyPath, int | None] = dict(islice(_lines(root, ()), _MOST_KEYS)) if root is not None else {}
        if len(lines) == _MOST_KEYS:
            raise ConfigError(
                f"{source} has {_MOST_KEYS} keys and values or more: do its aliases (*name) stand for each other?",
                remedy=_SEE_CONFIG,
            )
        data = yaml.safe_load(text)
    except _KeyError as error:
        raise ConfigError(f"{source}, line {error.line}: the key {error.key} {error.fault}") from error
    except NOT_YAML as error:
        raise ConfigError(f"{source} is not YAML: {error}", remedy=_SEE_CONFIG) from error
    if data is None:
        return {}, lines
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected keys at the top level, found {type(data).__name__}")
    return data, lines


class _KeyError(Exception):
    def __init__(self, key: str, line: int, fault: str) -> None:
        super().__init__(key)
        self.key = key
        self.line = line
        self.fault = fault


def _lines(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    """Every key's path with its line, from 1."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise _KeyError(name, line, "stands twice")
            if key.tag in _NO_TEXT:
                raise _KeyError(name, line, "is no text to YAML: put it in quotes")
            seen.add(name)
            yield (*path, name), line
            yield from _lines(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _lines(item, (*path, index))


def _apply(data: JsonObject, override: str) -> KeyPath:
    """Puts one `section.key=value` into the parsed file, in place; returns the key's path."""
    keys, equals, text = override.partition("=")
    path = tuple(keys.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(f"--set {override}: expected section.key=value, e.g. --set sweep.concurrency=[8,16]")
    try:
        value = yaml.safe_load(text)
    except NOT_YAML as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {error}") from error
    *sections, last = path
    target: Any = data
    for section in sections:
        if target.get(section) is None:
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section} is not a section")
    target[last] = value
    return path


def _fill_from_environment(data: JsonObject, environment: Mapping[str, str]) -> None:
    """Lets the field's own environment variables stand in for what the file leaves null."""
    for section, key, variable in (
        ("mlflow", "tracking_uri", "MLFLOW_TRACKING_URI"),
        ("mlflow", "ca_bundle", "MLFLOW_TRACKING_SERVER_CERT_PATH"),
        ("s3", "endpoint_url", "MLFLOW_S3_ENDPOINT_URL"),
        ("s3", "endpoint_url", "AWS_ENDPOINT_URL_S3"),
        ("s3", "endpoint_url", "AWS_ENDPOINT_URL"),
        ("s3", "region", "AWS_REGION"),
        ("s3", "region", "AWS_DEFAULT_REGION"),
        ("s3", "ca_bundle", "AWS_CA_BUNDLE"),
    ):
        values, value = data.setdefault(section, {}), environment.get(variable)
        # What a run has kept of its address is without the login that stands in the environment's.
        if isinstance(values, dict) and value and values.get(key) in (None, without_credentials(value)):
            values[key] = value


def _explained(error: ValidationError, lines: Mapping[KeyPath, int | None], source: str) -> ConfigError:
    """The first faults, each with its key and the line it stands on."""
    faults = [_fault(item["loc"], item["type"], item["msg"], lines, source) for item in error.errors()[:5]]
    return ConfigError("\n".join(faults), remedy=_SEE_CONFIG)


def _fault(loc: KeyPath, kind: str, message: str, lines: Mapping[KeyPath, int | None], source: str) -> str:
    known = next((loc[:length] for length in range(len(loc), 0, -1) if loc[:length] in lines), None)
    line = lines[known] if known is not None else None
    place = f"{source}, line {line}" if line is not None else "--set" if known is not None else source
    said = _FAULTS.get(kind) or message[:1].lower() + message[1:]
    return f"{place}: {'.'.join(str(part) for part in loc)}: {said}"

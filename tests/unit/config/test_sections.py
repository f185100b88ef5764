"""Every fault of a configuration is one ConfigError that names the key and the line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.errors import ConfigError
from hcopt.system.redaction import without_credentials
from scripts import config_schema

REPOSITORY = Path(__file__).resolve().parents[3]
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_text(text: str | bytes, *overrides: str, environment: dict[str, str] | None = None) -> Config:
        file = tmp_path / "c.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_config(file, overrides=overrides, environment=environment or {})

    return load_text


def fault(load: Load, text: str | bytes, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    assert caught.value.exit_code == 2
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\n", 1, "a: unknown key"),
        ("objective: throughput\n", 1, "objective: unknown key"),
        ("# comment\n\nsweep:\n  concurency: [1]\n", 4, "sweep.concurency: unknown key"),
        ("runtime:\n  docker:\n    memory: 1\n", 3, "runtime.docker.memory: unknown key"),
        ("sweep: &s {concurrency: [4]}\nnoise:\n  <<: *s\n", 2, "noise.concurrency: unknown key"),
        ("sweep:\n  concurrency: 8\n", 2, "sweep.concurrency: expected a list"),
        ("sweep:\n  concurrency: [1,\n    two]\n", 3, "sweep.concurrency.1: input should be a valid integer"),
        ("sweep:\n  concurrency: [1.5]\n", 2, "sweep.concurrency.0: input should be a valid integer"),
        ("sweep:\n  instance_count: [yes]\n", 2, "sweep.instance_count.0: input should be a valid integer"),
        ("sweep:\n  instance_count: ['2']\n", 2, "sweep.instance_count.0: input should be a valid integer"),
        ("constraints: {latency_p99_ms: on}\n", 1, "constraints.latency_p99_ms: input should be a valid number"),
        ("noise:\n  max_steal_ratio: '0.1'\n", 2, "noise.max_steal_ratio: input should be a valid number"),
        ("mlflow:\n", 1, "mlflow: expected keys with values"),
        ("mlflow: 5\n", 1, "mlflow: expected keys with values"),
        ("runtime:\n  docker:\n    release: [26]\n", 3, "runtime.docker.release: input should be a valid string"),
        ("sweep:\n  parameters: {a: 3}\n", 2, "sweep.parameters.a: expected a list"),
        ("runtime:\n  cpuset:\n    server: all\n", 3, "runtime.cpuset.server: string should match"),
    ],
)
def test_error_names_key_and_line_for_unknown_key_or_wrong_type(load: Load, text: str, line: int, said: str) -> None:
    message = fault(load, text)
    assert f"c.yaml, line {line}: {said}" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sweep.max_batch_size", "[0]"),
        ("sweep.max_batch_size", "[2147483648]"),  # Triton's own configuration has 32 bits
        ("sweep.instance_count", "[-1]"),
        ("sweep.max_queue_delay_us", "[10000001]"),
        ("sweep.concurrency", "[4097]"),
        ("constraints.latency_p99_ms", "0"),
        ("constraints.latency_p99_ms", ".nan"),
        ("constraints.latency_p99_ms", ".inf"),
        ("noise.max_steal_ratio", "1.01"),
        ("confirmation.alpha", "0.5"),
        ("confirmation.indifference_ratio", "0"),
        ("profiler.measurement_interval_ms", "99"),
        ("profiler.seed", "-1"),
        ("instance_kind", "KIND_TPU"),
        ("model.uri", "''"),
        ("model.input_shapes", "{image: [3, -1]}"),
        ("models", "[{}]"),
    ],
)
def test_value_out_of_range_is_refused_and_its_key_named(load: Load, key: str, value: str) -> None:
    assert fault(load, "", f"{key}={value}").startswith(f"--set: {key}")


def test_several_faults_are_told_at_once(load: Load) -> None:
    message = fault(load, "a: 1\nsweep:\n  concurrency: [0]\nb: 2\n")
    assert [place.split(":")[0].rpartition("line ")[2] for place in message.splitlines()] == ["3", "1", "4"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\na: 2\n", 2, "the key a stands twice"),
        ("sweep:\n  concurrency: [1]\n  concurrency: [2]\n", 3, "the key concurrency stands twice"),
        ("sweep:\n  on: [1]\n", 2, "the key on is no text to YAML"),
        ("1: x\n", 1, "the key 1 is no text to YAML"),
    ],
)
def test_key_that_stands_twice_or_is_no_text_is_refused(load: Load, text: str, line: int, said: str) -> None:
    assert f"c.yaml, line {line}: {said}" in fault(load, text)


@pytest.mark.parametrize(
    "text",
    [
        "a: [\n",
        "\ta: 1\n",
        "a: b: c\n",
        "---\na: 1\n---\nb: 2\n",
        "x: !!python/object:os.system {}\n",
        "x: !!int abc\n",
        "model: {uri: 2024-13-45}\n",
        "? [1]\n: 2\n",
        "a: &x [*x]\n",
        "x\x00y: 1\n",
    ],
)
def test_text_that_is_not_yaml_is_refused(load: Load, text: str) -> None:
    assert "c.yaml is not YAML: " in fault(load, text)


@pytest.mark.parametrize(("text", "found"), [("- 1\n", "list"), ("5\n", "int"), ("text\n", "str")])
def test_top_level_without_keys_is_refused(load: Load, text: str, found: str) -> None:
    assert f"expected keys at the top level, found {found}" in fault(load, text)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_empty_file_gives_the_defaults(load: Load, text: str) -> None:
    assert load(text) == Config()


def test_file_with_byte_order_mark_is_read(load: Load) -> None:
    assert load(b"\xef\xbb\xbfsweep: {concurrency: [3]}\n").sweep.concurrency == (3,)


def test_file_that_is_no_utf8_is_refused_with_its_name(load: Load) -> None:
    assert "c.yaml" in fault(load, b"\xff\xfe")


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration") as caught:
        load_config(tmp_path / name, environment={})
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.remedy is not None


def test_without_path_config_yaml_of_the_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(environment={}) == Config()
    (tmp_path / "config.yaml").write_text("profiler: {seed: 7}\n")
    assert load_config(environment={}).profiler.seed == 7


FILE = "sweep:\n  concurrency: [8,\n    16]\nconstraints: {latency_p99_ms: 5}\n"


def test_set_wins_over_the_file_and_leaves_the_rest(load: Load) -> None:
    config = load(FILE, "sweep.concurrency=[1, 2]", "model.uri=models:/A=B/1", "sweep.parameters.threads=[1, two]")
    assert config.sweep.concurrency == (1, 2)
    assert config.model.uri == "models:/A=B/1"
    assert config.sweep.parameters == {"threads": (1, "two")}
    assert config.constraints.latency_p99_ms == 5


def test_later_set_wins_over_earlier_one(load: Load) -> None:
    assert load(FILE, "profiler.seed=1", "profiler.seed=2").profiler.seed == 2


@pytest.mark.parametrize("text", ["constraints.latency_p99_ms=", "constraints.latency_p99_ms=null"])
def test_set_without_value_means_null(load: Load, text: str) -> None:
    assert load(FILE, text).constraints.latency_p99_ms is None


def test_set_fills_section_that_the_file_leaves_empty(load: Load) -> None:
    assert load("mlflow:\n", "mlflow.experiment=x").mlflow.experiment == "x"


@pytest.mark.parametrize("override", ["x", "=1", " =1", "sweep.concurrency", "sweep..x=1", "sweep.=1", ".=1"])
def test_set_without_key_or_value_is_refused_with_an_example(load: Load, override: str) -> None:
    assert f"--set {override}: expected section.key=value" in fault(load, FILE, override)


@pytest.mark.parametrize("override", ["sweep.concurrency=[1", "sweep.concurrency=!!int x"])
def test_set_whose_value_is_not_yaml_is_refused(load: Load, override: str) -> None:
    assert f"--set {override}: the value is not YAML" in fault(load, FILE, override)


@pytest.mark.parametrize("override", ["sweep.concurrency.x=1", "constraints.latency_p99_ms.x.y=1"])
def test_set_below_a_value_is_refused(load: Load, override: str) -> None:
    assert "is not a section" in fault(load, FILE, override)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sweep.nokey=1", "sweep.nokey: unknown key"),
        ("nosection.x=1", "nosection: unknown key"),
        ("sweep.concurrency=[0]", "sweep.concurrency.0: "),
        ("sweep={concurrency: [0]}", "sweep.concurrency.0: "),
        ("instance_kind=KIND_TPU", "instance_kind: "),
    ],
)
def test_fault_of_set_names_set_and_not_the_line_it_replaced(load: Load, override: str, said: str) -> None:
    assert fault(load, FILE, override).startswith(f"--set: {said}")


def test_fault_of_the_file_keeps_its_line_beside_a_set(load: Load) -> None:
    assert "c.yaml, line 3: sweep.concurrency.1" in fault(load, FILE.replace("16", "x"), "profiler.seed=1")


def test_environment_fills_what_the_file_leaves_open(load: Load) -> None:
    environment = {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "AWS_ENDPOINT_URL": "http://general:1",
        "MLFLOW_S3_ENDPOINT_URL": "http://minio:9000",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CA_BUNDLE": "/etc/ca.pem",
    }
    config = load("mlflow: {tracking_uri: null}\n", environment=environment)
    assert config.mlflow.tracking_uri == "http://mlflow:5000"
    assert config.s3.endpoint_url == "http://minio:9000"  # MLflow's own variable before the general one
    assert (config.s3.region, config.s3.ca_bundle) == ("eu-central-1", "/etc/ca.pem")


def test_file_and_set_win_over_environment(load: Load) -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://other", "AWS_REGION": "other"}
    config = load("mlflow: {tracking_uri: http://file}\n", "s3.region=set", environment=environment)
    assert (config.mlflow.tracking_uri, config.s3.region) == ("http://file", "set")


def test_empty_environment_variable_counts_as_unset(load: Load) -> None:
    assert load("", environment={"AWS_REGION": ""}).s3.region is None


def test_process_environment_is_read_where_none_is_given(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://process")
    assert load_config(REPOSITORY / "config.yaml").mlflow.tracking_uri == "http://process"


def test_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().sweep.concurrency = (1,)  # type: ignore[misc]


def test_config_yaml_of_the_repository_is_the_defaults() -> None:
    assert load_config(REPOSITORY / "config.yaml", environment={}) == Config()


@pytest.mark.parametrize(("written", "meant"), [("26.09", "26.09"), ("26.10", "26.10"), ('"25.12"', "25.12")])
def test_release_needs_no_quotes(written: str, meant: str) -> None:
    assert load_config(overrides=[f"runtime.docker.release={written}"]).runtime.docker.release == meant


@pytest.mark.parametrize("written", ["off", '"off"'])
def test_gate_that_is_off_needs_no_quotes(written: str) -> None:
    assert load_config(overrides=[f"noise.gate={written}"]).noise.gate == "off"


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("http://user:secret@host:1/x", "http://host:1/x"),
        ("http://secret@host", "http://host"),
        ("postgresql://bob:sec/ret@host/db", "postgresql://host/db"),
        ("postgresql://host/db?user=bob&password=secret", "postgresql://host/db?user=bob&password=…"),
        ("http://host/?token=secret&a=1, tried twice", "http://host/?token=…&a=1, tried twice"),
        ("s3://bucket/key@1 and models:/NAME@prod", "s3://bucket/key@1 and models:/NAME@prod"),
        ("http://host:80/a@b", "http://host:80/a@b"),
    ],
)
def test_credentials_are_taken_out_of_a_text_and_nothing_else(text: str, public: str) -> None:
    assert without_credentials(text) == public


def test_logins_in_addresses_are_not_written_into_a_run() -> None:
    secret = "http://user:planted@host:1"
    keys = ("s3.endpoint_url", "mlflow.tracking_uri", "runtime.remote.grpc", "runtime.remote.http")
    config = load_config(overrides=[f"{key}={secret}" for key in keys])
    assert config.s3.endpoint_url == secret
    assert "planted" not in config.model_dump_json()


def test_config_yaml_of_the_repository_has_every_key() -> None:
    import yaml

    written = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    assert _keys(written) == _keys(Config().model_dump(mode="json"))


def _keys(data: object) -> object:
    return {key: _keys(value) for key, value in data.items()} if isinstance(data, dict) else None


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("{}", ("auto", "auto")),
        ("{server: null}", (None, "auto")),
        ("{server: 0, client: 1}", ("0", "1")),
        ("{server: 0-3, client: auto}", ("0-3", "auto")),
    ],
)
def test_cpus_are_a_list_or_one_or_left_to_hcopt_or_the_kernel(
    load: Load, text: str, cpus: tuple[str | None, str | None]
) -> None:
    found = load(f"runtime: {{cpuset: {text}}}").runtime.cpuset
    assert (found.server, found.client, found.is_auto) == (*cpus, text == "{}")


def test_schema_file_is_up_to_date() -> None:
    assert config_schema.TARGET.read_text(encoding="utf-8") == config_schema.text(), "run scripts/config_schema.py"


def test_comment_of_a_key_stands_above_it_or_on_its_line() -> None:
    text = """\
# Of the whole file.

# Of one
# and its keys.
#   - an example
one:
  # Of a, #1.
  a: 1
  b: "#"  # of b
  # Of three keys.
  c: {d: 1, e: 2}
two: 2
"""
    assert config_schema.comments(text) == {
        ("one",): "Of one and its keys.",
        ("one", "a"): "Of a, #1.",
        ("one", "b"): "of b",
        ("one", "c"): "Of three keys.",
        ("one", "c", "d"): "Of three keys.",
        ("one", "c", "e"): "Of three keys.",
    }


def test_schema_is_refused_while_nothing_is_said_of_a_key() -> None:
    said = config_schema.comments(config_schema.SOURCE.read_text(encoding="utf-8"))
    del said["noise", "gate"]
    with pytest.raises(ValueError, match="gate"):
        config_schema.schema(said)


# --- .env ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], Config]:
    """A configuration as a folder with that .env gives it, and an environment without anything of MLflow's or S3's."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def load_beside(text: str | bytes) -> Config:
        (tmp_path / ".env").write_bytes(text.encode() if isinstance(text, str) else text)
        return load_config()

    return load_beside


LOGIN = "AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=planted-secret\n"


def revealed(config: Config) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in config.dotenv.items()}


def test_dotenv_fills_what_file_and_environment_leave_open(
    dotenv: Callable[[str], Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "real")
    config = dotenv("MLFLOW_TRACKING_URI=http://file:5000\nAWS_REGION=file\nPOSTGRES_PASSWORD=x\n" + LOGIN)
    assert (config.mlflow.tracking_uri, config.s3.region) == ("http://file:5000", "real")
    assert revealed(config) == {
        "MLFLOW_TRACKING_URI": "http://file:5000",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
    }, "nothing that the environment has, and nothing that is not for these services"


def test_dotenv_is_read_as_compose_reads_it(dotenv: Callable[[str | bytes], Config]) -> None:
    text = "\ufeff# c\nexport MLFLOW_TRACKING_URI='http://quoted'\nAWS_PROFILE = \"two words\"\nAWS_REGION=\nODD\n"
    config = dotenv(text.encode())
    assert config.mlflow.tracking_uri == "http://quoted"
    assert revealed(config)["AWS_PROFILE"] == "two words"
    assert config.s3.region is None


@pytest.mark.parametrize("own", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"])
def test_login_of_dotenv_is_never_mixed_with_one_of_the_environment(
    dotenv: Callable[[str], Config], monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    monkeypatch.setenv(own, "of the environment")
    config = dotenv(LOGIN + "MLFLOW_TRACKING_TOKEN=t\n")
    assert revealed(config) == {"MLFLOW_TRACKING_TOKEN": "t"}


def test_secret_of_dotenv_is_in_nothing_that_is_written(dotenv: Callable[[str], Config]) -> None:
    config = dotenv(LOGIN)
    copied = config.model_copy(update={"profiler": config.profiler})
    assert revealed(copied) == revealed(config)
    for text in (repr(config), str(config.dotenv), config.model_dump_json(), str(config.model_dump())):
        assert "planted-secret" not in text


def test_line_of_dotenv_that_is_none_is_told_without_what_it_says(dotenv: Callable[[str], Config]) -> None:
    with pytest.raises(ConfigError, match=r"\.env, line 2: expected NAME=value") as caught:
        dotenv("A=1\n= planted-secret\n")
    assert "planted-secret" not in f"{caught.value.message} {caught.value.remedy}"


def test_dotenv_that_is_no_text_is_told(dotenv: Callable[[bytes], Config]) -> None:
    with pytest.raises(ConfigError, match=r"cannot read \.env"):
        dotenv(b"\xff\xfe\x00")


def test_given_environment_stands_alone(dotenv: Callable[[str], Config]) -> None:
    dotenv(LOGIN + "MLFLOW_TRACKING_URI=http://file\n")
    config = load_config(environment={})
    assert (config.mlflow.tracking_uri, dict(config.dotenv)) == (None, {})


# --- a run's own configuration ------------------------------------------------------------------------------------


def test_login_in_an_address_is_not_written_and_comes_back_from_the_environment() -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://me:secret@mlflow:5000"}
    config = load_config(environment=environment)
    assert config.mlflow.tracking_uri == "http://me:secret@mlflow:5000"
    recorded = config.model_dump(mode="json")
    assert recorded["mlflow"]["tracking_uri"] == "http://mlflow:5000"
    assert load_config(recorded=recorded, environment=environment) == config
    other = load_config(recorded=recorded, environment={"MLFLOW_TRACKING_URI": "http://me:secret@other"})
    assert other.mlflow.tracking_uri == "http://mlflow:5000"


def test_recorded_configuration_stands_for_the_file_and_set_wins_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("profiler: {seed: 7}\n")
    recorded = Config(profiler={"seed": 3}).model_dump(mode="json")  # type: ignore[arg-type]
    assert load_config(recorded=recorded, environment={}).profiler.seed == 3
    assert load_config(recorded=recorded, overrides=["profiler.seed=4"], environment={}).profiler.seed == 4
    assert recorded["profiler"]["seed"] == 3, "what was recorded stays as it is"


def test_recorded_configuration_of_another_version_is_told() -> None:
    with pytest.raises(ConfigError, match="the run's configuration: gone: unknown key"):
        load_config(recorded={"gone": 1}, environment={})

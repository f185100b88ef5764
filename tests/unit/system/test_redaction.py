from __future__ import annotations

import pytest

from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.system.redaction import redacted, without_credentials, without_secrets
from hcopt.triton.docker.tools import _ENVIRONMENT

PLANTED = "planted-Secret/of+this=test"


@pytest.mark.parametrize(
    "text",
    [
        f"http://me:{PLANTED}@host:5000/api",
        f"postgresql+psycopg2://me:{PLANTED}@db/mlflow failed",
        f"GET https://b.s3.amazonaws.com/k?X-Amz-Credential={PLANTED}&X-Amz-Signature={PLANTED}&X-Amz-Expires=60",
        f"https://s3/k?X-Amz-Security-Token={PLANTED}",
        f"https://s3/k?AWSAccessKeyId={PLANTED}&Signature={PLANTED}&Expires=1",
        f"https://account.blob.core.windows.net/c/b?sv=2024&sig={PLANTED}",
        f"https://host/?access_token={PLANTED}#x",
        f"{{'Authorization': 'Bearer {PLANTED}'}}",
        f"Authorization: Basic {PLANTED}",
        f'"x-amz-security-token": "{PLANTED}"',
        f"Bearer {PLANTED}",
    ],
)
def test_login_token_and_signature_are_taken_out(text: str) -> None:
    assert PLANTED not in without_credentials(text)
    assert "planted" not in without_credentials(text)


def test_access_key_of_aws_is_taken_out() -> None:
    assert without_credentials("the key AKIAIOSFODNN7EXAMPLE is wrong") == "the key … is wrong"


@pytest.mark.parametrize(
    "text",
    ["basic configuration of the authorization", "models:/NAME@prod", "s3://bucket/key=1/model.onnx", "a?monkey=1"],
)
def test_other_text_stays(text: str) -> None:
    # A parameter that ends in `key` counts as a secret, whoever's it is.
    assert without_credentials(text) == text.replace("monkey=1", "monkey=…")


def test_values_of_secret_variables_are_taken_out_wherever_they_stand() -> None:
    environment = {"MLFLOW_TRACKING_TOKEN": PLANTED, "AWS_SECRET_ACCESS_KEY": "planted-two", "HOME": "/root"}
    assert redacted(f"a {PLANTED}x planted-two /root", environment) == "a …x … /root"


def test_short_secret_is_left_alone_since_it_stands_in_texts_by_chance() -> None:
    assert redacted("a model", {"POSTGRES_PASSWORD": "a"}) == "a model"


KEPT = {"PATH": "/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "2", "LD_LIBRARY_PATH": "/lib"}
SECRET = {
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_PROFILE": "p",
    "MLFLOW_TRACKING_TOKEN": "t",
    "POSTGRES_PASSWORD": "p",
    "HF_TOKEN": "t",
    "my_secret": "s",
    "OPENAI_API_KEY": "k",
    "SSH_PRIVATE_KEY": "k",
    "GOOGLE_APPLICATION_CREDENTIALS": "f",
    "REGISTRY_AUTH": "a",
    "SIGNING_KEY": "k",
}


def test_programs_inherit_no_secret() -> None:
    assert without_secrets({**KEPT, **SECRET}) == KEPT


def test_programs_inherit_no_login_in_an_address() -> None:
    given = {"HTTPS_PROXY": f"http://me:{PLANTED}@proxy:3128", "DATABASE_URL": f"postgresql://me:{PLANTED}@db/x"}
    assert without_secrets(given) == {"HTTPS_PROXY": "http://proxy:3128", "DATABASE_URL": "postgresql://db/x"}


def test_programs_in_containers_inherit_nothing_at_all() -> None:
    assert _ENVIRONMENT.keys() == {"HOME", "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("key", ["mlflow.tracking_uri", "s3.endpoint_url", "runtime.remote.metrics", "model.uri"])
def test_login_in_an_address_of_the_configuration_is_not_written(key: str) -> None:
    config = load_config(overrides=[f"{key}=http://me:{PLANTED}@host:1"], environment={})
    assert PLANTED not in config.model_dump_json()


def test_login_in_an_address_of_a_service_is_not_shown_either() -> None:
    config = Config.model_validate(
        {
            "mlflow": {"tracking_uri": f"http://me:{PLANTED}@host"},
            "s3": {"endpoint_url": f"http://me:{PLANTED}@host"},
        }
    )
    assert PLANTED not in repr(config)
    assert PLANTED not in str(config)

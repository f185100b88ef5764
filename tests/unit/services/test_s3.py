from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from urllib3.response import HTTPResponse

from hcopt.config.sections import S3Section
from hcopt.errors import ModelSourceError
from hcopt.services.s3 import Bucket, _client

BODY = b"a model"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
OTHER_SHA256 = base64.b64encode(hashlib.sha256(b"another").digest()).decode()


class OneObject:
    """A client of a bucket that gives `BODY` for every key, and says of it what it is told to."""

    def __init__(self, again: bytes = BODY, **head: object) -> None:
        self.again = again
        self.head = {"ContentLength": len(BODY), **head}

    def head_object(self, **_request: object) -> dict[str, object]:
        return self.head

    def download_file(
        self,
        _bucket: str,
        _key: str,
        target: str,
        *,
        Callback: Callable[[int], None],  # noqa: N803
        **_options: object,
    ) -> None:
        Callback(len(BODY))
        Path(target).write_bytes(BODY)

    def get_object(self, **_request: object) -> dict[str, object]:
        return {"Body": BytesIO(self.again)}


def fetch(target: Path, *, deadline: float = math.inf, again: bytes = BODY, **head: object) -> None:
    Bucket(client=OneObject(again, **head), name="b", deadline=deadline, timeout_s=60).fetch("k", target)


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"ETag": f'"{MD5}"'},
        {"ChecksumSHA256": SHA256, "ETag": '"0123456789abcdef0123456789abcdef"'},
        {"ChecksumSHA256": f"{OTHER_SHA256}-2", "ETag": '"0123456789abcdef0123456789abcdef-2"'},  # of several parts
        {"ServerSideEncryption": "aws:kms", "ETag": '"0123456789abcdef0123456789abcdef"'},
        {"SSECustomerAlgorithm": "AES256", "ETag": '"0123456789abcdef0123456789abcdef"'},
        {"ETag": '"W/an opaque one"'},
        {"ETag": '"0123456789abcdef0123456789abcdef"'},  # opaque too: the object comes the same each time
    ],
)
def test_object_is_taken_where_nothing_contradicts(tmp_path: Path, head: dict[str, object]) -> None:
    fetch(tmp_path / "deep" / "file", **head)
    assert (tmp_path / "deep" / "file").read_bytes() == BODY


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"ContentLength": 9}, "7 of 9 bytes came"),
        ({"ContentLength": 3}, "7 of 3 bytes came"),
        ({"ETag": '"0123456789abcdef0123456789abcdef"', "again": b"changed"}, "does not have its ETag's MD5"),
        ({"ChecksumSHA256": OTHER_SHA256, "ETag": f'"{MD5}"'}, "does not have its SHA-256"),
    ],
)
def test_object_that_is_not_what_s3_says_is_refused(tmp_path: Path, head: dict[str, object], said: str) -> None:
    with pytest.raises(ModelSourceError, match=said) as caught:
        fetch(tmp_path / "file", **head)
    assert "s3://b/k" in caught.value.message
    assert caught.value.remedy is not None


def test_download_is_given_up_at_its_deadline(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="takes longer than 60 s") as caught:
        fetch(tmp_path / "file", deadline=-math.inf)
    assert "s3.timeout_s" in str(caught.value.remedy)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("section", "url"),
    [
        (S3Section(endpoint_url="http://minio:9000"), "http://minio:9000/models/key"),
        (S3Section(endpoint_url="http://minio:9000", path_style=False), "http://models.minio:9000/key"),
        (S3Section(region="eu-west-1", path_style=False), "https://models.s3.eu-west-1.amazonaws.com/key"),
    ],
)
def test_bucket_stands_where_the_configuration_says(
    section: S3Section, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    sent: list[str] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append(request.url)
        return AWSResponse(request.url, 200, {}, HTTPResponse(BytesIO()))

    with closing(_client(section)) as client:
        client.meta.events.register("before-send.s3.HeadObject", answer)
        client.head_object(Bucket="models", Key="key")
    assert sent == [url]

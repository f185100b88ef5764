"""Files out of S3 or what speaks S3 (MinIO, SeaweedFS …): listed, fetched whole or not at all, with our own errors."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hcopt.config.sections import Config, S3Section
from hcopt.errors import ModelSourceError
from hcopt.system.environ import temporary_environ
from hcopt.system.redaction import without_credentials

if TYPE_CHECKING:
    S3Client = Any  # boto3 makes its client classes at run time

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 20
# With pauses in between that double, up to 20 s.
_ATTEMPTS = 3
_CHUNK_BYTES = 1 << 20

_ABSENT_CODES = ("NoSuchKey", "404", "NotFound")
# Without the right to list, S3 answers 403 where there is no such key.
_FORBIDDEN_CODES = ("AccessDenied", "403", "Forbidden")
_SET_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN where they are temporary)."
_CHECK_CREDENTIALS = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they belong to this endpoint."
_TRUST_IT = "Give the file of its certificate as s3.ca_bundle in config.yaml or AWS_CA_BUNDLE."
_CHECK_ENDPOINT = "Start it, or correct s3.endpoint_url in config.yaml or MLFLOW_S3_ENDPOINT_URL."


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One bucket, opened.

    Attributes:
        client: boto3's.
        name: The bucket's.
        deadline: When a download is given up, on the clock of `time.monotonic`.
        timeout_s: The limit that the deadline came from, for the message.
    """

    client: S3Client
    name: str
    deadline: float
    timeout_s: float

    def sizes(self, prefix: str) -> Mapping[str, int]:
        """Size in bytes of every object under `prefix/`, by its name relative to that.

        Raises:
            ModelSourceError: A key is absolute or leads out of the prefix.
        """
        folder = f"{prefix.strip('/')}/"
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=folder)
        objects = [item for page in pages for item in page.get("Contents", ())]
        return {_checked_name(item["Key"], folder): item["Size"] for item in objects if not item["Key"].endswith("/")}

    def fetch(self, key: str, target: Path) -> None:
        """Writes one object to `target`, whose folder is made, and holds it against its size and checksum.

        Raises:
            ModelSourceError: What came is not the object, or it takes too long.
        """
        from boto3.s3.transfer import TransferConfig

        head = self.client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        target.parent.mkdir(parents=True, exist_ok=True)
        self.client.download_file(
            self.name,
            key,
            str(target),
            Callback=self._check_time,
            Config=TransferConfig(num_download_attempts=_ATTEMPTS),
        )
        fault = _fault(target, head)
        if fault is None and not self._has_md5(key, target, head):
            fault = "it does not have its ETag's MD5, and comes otherwise each time"
        if fault:
            raise ModelSourceError(
                f"s3://{self.name}/{key}: {fault}",
                remedy="Run again; where it stays so, the object was replaced meanwhile or the server is at fault.",
            )

    def _has_md5(self, key: str, file: Path, head: Mapping[str, Any]) -> bool:
        """Whether a file has the MD5 that S3 names; or the service names something else by that, and it came as it is.

        To some services an ETag is any 32 digits. A second look tells that from bytes that were changed on their way.
        """
        if (expected := _md5_in(head)) is None or (came := _digest(file, "md5").hex()) == expected:
            return True
        again = hashlib.md5(usedforsecurity=False)
        with closing(self.client.get_object(Bucket=self.name, Key=key)["Body"]) as body:
            while chunk := body.read(_CHUNK_BYTES):
                self._check_time(len(chunk))
                again.update(chunk)
        return again.hexdigest() == came

    def _check_time(self, _arrived_bytes: int) -> None:
        if time.monotonic() > self.deadline:
            raise ModelSourceError(
                f"s3://{self.name}: the download takes longer than {self.timeout_s:g} s",
                remedy="Raise s3.timeout_s in config.yaml.",
            )

    def fetch_if_there(self, key: str, target: Path) -> bool:
        """Writes one object to `target` where there is one (and this user may read it)."""
        from botocore.exceptions import ClientError

        try:
            self.fetch(key, target)
        except ClientError as error:
            if _code(error) in (*_ABSENT_CODES, *_FORBIDDEN_CODES):
                return False
            raise
        return True

    def has(self, key: str) -> bool:
        """Whether there is such an object.

        Unlike HEAD, a GET is refused with a reason: no such bucket, a wrong signature, an unknown access key.
        """
        from botocore.exceptions import ClientError

        try:
            self.client.get_object(Bucket=self.name, Key=key)["Body"].close()
        except ClientError as error:
            if _code(error) in _ABSENT_CODES:
                return False
            raise
        return True

    def put(self, key: str, content: bytes) -> str | None:
        """Writes an object; gives the service's code where it refuses, None where it does not."""
        from botocore.exceptions import ClientError

        try:
            self.client.put_object(Bucket=self.name, Key=key, Body=content)
        except ClientError as error:
            return _code(error)
        return None


def _fault(file: Path, head: Mapping[str, Any]) -> str | None:
    """What is wrong with a download, by what S3 says of the object; None where nothing is known to be."""
    size_bytes, expected_bytes = file.stat().st_size, head["ContentLength"]
    if size_bytes != expected_bytes:
        return f"{size_bytes} of {expected_bytes} bytes came"
    if (sha256 := _sha256_in(head)) is not None and _digest(file, "sha256") != sha256:
        return "it does not have its SHA-256"
    return None


def _sha256_in(head: Mapping[str, Any]) -> bytes | None:
    sha256 = head.get("ChecksumSHA256", "")
    # An object that was uploaded in parts has checksums of checksums, marked by a dash and their number.
    return base64.b64decode(sha256) if sha256 and "-" not in sha256 else None


def _md5_in(head: Mapping[str, Any]) -> str | None:
    """The MD5 that an object's ETag probably is; None where it is none, or S3 names a better checksum."""
    etag = str(head.get("ETag", "")).strip('"')
    # Of what the server itself encrypts, the ETag is no MD5.
    encrypted = any("Encryption" in key or "SSE" in key for key in head)
    better = _sha256_in(head) is not None
    return etag if re.fullmatch(r"[0-9a-f]{32}", etag) and not encrypted and not better else None


def _digest(file: Path, algorithm: str) -> bytes:
    # file_digest came with Python 3.11.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


@contextmanager
def open_bucket(name: str, config: Config, *, verifies: bool = True) -> Iterator[Bucket]:
    """A bucket, or none where the name is empty; what boto3 raises inside the context is raised as a ModelSourceError.

    Credentials are found where boto3 always looks, and in .env.

    Args:
        name: The bucket.
        config: How S3 is reached.
        verifies: Whether the server's certificate has to be one that is trusted.

    Raises:
        ModelSourceError: Unreachable, no or wrong credentials, no such bucket or key, a full disk, no time left.
    """
    section = config.s3
    deadline = time.monotonic() + section.timeout_s
    try:
        with temporary_environ(config.dotenv), closing(_client(section, verifies=verifies)) as client:
            yield Bucket(client=client, name=name, deadline=deadline, timeout_s=section.timeout_s)
    except _failures() as error:
        what = f"s3://{name}" if name else "the list of buckets"
        message, remedy = explain_s3_error(error, what, section.endpoint_url)
        raise ModelSourceError(message, remedy=remedy) from error


def _failures() -> tuple[type[Exception], ...]:
    # boto3 refuses an endpoint that is no URL with a ValueError.
    return (*s3_errors(), OSError, ValueError)


def _client(settings: S3Section, *, verifies: bool = True) -> S3Client:
    import boto3
    from botocore.config import Config as BotoConfig

    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        verify=settings.ca_bundle if verifies else False,
        config=BotoConfig(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            s3={"addressing_style": "path" if settings.path_style else "virtual"},
        ),
    )


def _checked_name(key: str, folder: str) -> str:
    """The key relative to its folder, where that is a place inside of it."""
    name = key.removeprefix(folder)
    parts = name.split("/")
    if not key.startswith(folder) or "" in parts or "." in parts or ".." in parts or "\\" in name or "\0" in name:
        raise ModelSourceError(
            f"the key {key!r} leads out of {folder!r}: nothing of it is downloaded",
            remedy="Remove this object, or give the key of the ONNX file itself.",
        )
    return str(PurePosixPath(*parts))


def s3_errors() -> tuple[type[Exception], ...]:
    """What boto3 raises, for an `except`."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return (BotoCoreError, ClientError, Boto3Error)


def is_s3_refusal(error: Exception) -> bool:
    """Whether S3 says that this user may not do it."""
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and _code(error) in _FORBIDDEN_CODES


def explain_s3_error(error: Exception, what: str, endpoint_url: str | None = None) -> tuple[str, str | None]:
    """What failed, and what to do about it.

    Args:
        error: As boto3 or the operating system raised it.
        what: What was asked for.
        endpoint_url: Where, if not at AWS.
    """
    from botocore.exceptions import ClientError

    where = without_credentials(endpoint_url or "AWS")
    if isinstance(error, ClientError):
        return _explain_refusal(error, what, where)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no room on the disk for {what}: {os.strerror(error.errno)}", "Free some space, and run again."
    return _explain_no_answer(error, what, where)


def _explain_refusal(error: Any, what: str, where: str) -> tuple[str, str | None]:
    """An answer by the service."""
    code, said = _code(error), error.response.get("Error", {}).get("Message", "")
    if code == "NoSuchBucket":
        return f"there is no bucket {what} at {where}", "Check the bucket's name and s3.endpoint_url."
    if code in _ABSENT_CODES:
        return f"there is no such object in {what} at {where}", "Check the key."
    if code in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken", "ExpiredToken", *_FORBIDDEN_CODES):
        return f"{where} refuses the credentials for {what} ({code}): {said}", _CHECK_CREDENTIALS
    return f"{where} refuses {what} ({code}): {said}", None


def _explain_no_answer(error: Exception, what: str, where: str) -> tuple[str, str | None]:
    from botocore import exceptions as botocore

    if isinstance(error, (botocore.NoCredentialsError, botocore.PartialCredentialsError)):
        return f"there are no credentials for {what} at {where}: {error}", _SET_CREDENTIALS
    if isinstance(error, botocore.SSLError):
        return f"cannot reach S3 at {where} for {what}: {error}", _TRUST_IT
    if isinstance(error, (botocore.HTTPClientError, botocore.ConnectionError)):
        return f"cannot reach S3 at {where} for {what}: {error}", _CHECK_ENDPOINT
    return f"cannot fetch {what} from {where}: {error}", None


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))

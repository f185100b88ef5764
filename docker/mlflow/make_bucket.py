"""Waits for the S3 server and makes MLflow's bucket in it, where there is none yet."""

import os
import sys
import time
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

LIMIT_S = 180
REFUSALS = ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "InvalidBucketName")
THERE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def main() -> None:
    name = urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"]).netloc
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"],
        config=Config(connect_timeout=2, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    deadline = time.monotonic() + LIMIT_S
    while not made(client, name):
        if time.monotonic() > deadline:
            sys.exit("no S3 server answers: does COMPOSE_PROFILES in .env name one (minio or seaweedfs)?")
        time.sleep(1)
    print(f"the bucket {name} is there")


def made(client, name: str) -> bool:
    """False where the server is not ready yet."""
    try:
        client.create_bucket(Bucket=name)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in REFUSALS:
            sys.exit(f"the S3 server refuses to make the bucket {name}: {code}")
        return code in THERE
    except BotoCoreError:
        return False
    return True


main()

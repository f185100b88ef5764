"""Triton's image for a Deployment, and whether its server is new enough for what the manifests ask of it. Pure."""

from __future__ import annotations

import re

from hcopt.deploy.kubernetes.options import Options
from hcopt.records.run import RunRecord

REPOSITORY = "nvcr.io/nvidia/tritonserver"
# The embedded server of hcopt's own pins is the Triton of NVIDIA's release 24.10.
RELEASES = {"2.51.0": "24.10"}
# What the manifests need, with the release and the Triton that have it first.
# Source: tags v2.38.0 and v2.42.0 of triton-inference-server/server, branch r23.09 of its core.
_NEEDED = (
    ("the option --grpc-max-connection-age", (24, 1), (2, 42)),
    ("the metric nv_inference_pending_request_count", (23, 9), (2, 38)),
)
OLDEST_RELEASE = "24.01"
_RELEASE_TAG = re.compile(r":(?P<year>[0-9]{2})\.(?P<month>0[1-9]|1[0-2])(?![0-9.])[^/]*")
_TRITON = re.compile(r"(?P<major>[0-9]+)\.(?P<minor>[0-9]+)\b.*")


def image_of(record: RunRecord, options: Options) -> str | None:
    """Triton's image: the user's, that of the run, or that of the same Triton's release; None where none is known."""
    environment = record.environment
    release = RELEASES.get(environment.triton_version)
    # An engine's own id of an image, without a registry's digest, means nothing to another machine.
    pulled = environment.server_image if "@" in (environment.server_image or "") else None
    return options.image or pulled or (release and f"{REPOSITORY}:{release}-py3")


def lacking(record: RunRecord, options: Options) -> tuple[str, ...]:
    """What the manifests use and the image's server has not; nothing where its age is not known.

    The age of the user's image is its tag's, where that is a release of NVIDIA's; without one the Triton of the run
    counts.
    """
    if options.image is None:
        found = _TRITON.fullmatch(record.environment.triton_version)
        version = None if found is None else (int(found["major"]), int(found["minor"]))
        return tuple(what for what, _, since in _NEEDED if version is not None and version < since)
    tag = _RELEASE_TAG.search(options.image) if "triton" in options.image else None
    release = None if tag is None else (int(tag["year"]), int(tag["month"]))
    return tuple(what for what, since, _ in _NEEDED if release is not None and release < since)

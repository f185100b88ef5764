"""The golden config.pbtxt as a pod serves it: threads pinned, and warmed up before the pod counts as ready."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from hcopt.analysis.plan import THREADS
from hcopt.deploy.kubernetes.envelope import threads
from hcopt.model.named_files import NAMED_FOLDER
from hcopt.model.repository import names_in_version_folder
from hcopt.model.triton_config import parse_text, to_text
from hcopt.records.model import ModelArtifact
from hcopt.records.run import RunRecord

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


def deployed_config(record: RunRecord) -> str:
    """The golden configuration's text with what a pod needs beside it.

    Threads that the run left to ONNX Runtime are pinned to the CPUs that it saw: in a pod it would see all of the
    node's. The warm-up sends rows of zeros through every instance; Triton calls the model ready only afterwards.

    Raises:
        ValueError: The run has no golden configuration.
    """
    if record.best_config_pbtxt is None:
        raise ValueError("no golden configuration")
    config = parse_text(record.best_config_pbtxt)
    if threads(record) is None:
        config.parameters[THREADS].string_value = str(record.environment.cpu_count)
    _add_warm_up(config)
    # A block scalar of YAML ends at more line breaks than Unicode text of a config.pbtxt does.
    return to_text(config, ascii_only=True)


def fetch_script(artifact: ModelArtifact, config_text: str) -> str:
    """The init container's shell script: fetches the model, compares it with the one that was measured, adds the
    configuration.

    It needs MODEL_NAME, MODEL_URI, MODEL_SHA256, and the folders MODELS and CONFIG, from the environment.
    """
    names = " ".join(map(shlex.quote, names_in_version_folder(artifact, parse_text(config_text))))
    folder = artifact.version_folder
    moved = f'cp -r {NAMED_FOLDER}/. "$folder/"\nrm -r {NAMED_FOLDER}\n' if artifact.named_files else ""
    return f"""set -eu
folder="$MODELS/$MODEL_NAME"
mkdir -p "$folder/{folder}"
aws s3 cp --recursive --no-progress "$MODEL_URI" "$folder/{folder}/"
cd "$folder/{folder}"
found=$(cat -- {names} | sha256sum)
if [ "${{found%% *}}" != "$MODEL_SHA256" ]; then
  echo "$MODEL_URI holds another model than the one that was measured: ${{found%% *}}" >&2
  exit 1
fi
{moved}cp "$CONFIG/config.pbtxt" "$folder/config.pbtxt"
"""


def has_warm_up(config_text: str) -> bool:
    """Whether the configuration warms the model up."""
    return bool(parse_text(config_text).model_warmup)


def _add_warm_up(config: ModelConfig) -> None:
    """One row, and a full batch; none where a dimension is open, since any size might be wrong."""
    # The model has a value of its own for an optional input, and zeros need not be one.
    inputs = [tensor for tensor in config.input if not tensor.optional]
    if config.model_warmup or any(dim < 0 for tensor in inputs for dim in tensor.dims):
        return
    for rows in sorted({1, max(1, config.max_batch_size)}):
        warm_up = config.model_warmup.add(name=f"zeros_{rows}", batch_size=rows)
        for tensor in inputs:
            given = warm_up.inputs[tensor.name]
            given.data_type, given.zero_data = tensor.data_type, True
            given.dims.extend(tensor.dims)

"""What a run says of a user's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.model.prepare import Prepared, prepare
from hcopt.model.triton_config import CONFIG_FILE
from tests.support.onnx_models import linear_model, save

GROUP = "instance_group [{ count: 2 kind: KIND_CPU }]"
CONFIG = """platform: "onnxruntime_onnx"
max_batch_size: 8
input { name: "input" data_type: TYPE_FP32 dims: [4] }
output { name: "output" data_type: TYPE_FP32 dims: [1] }
"""


def prepared(tmp_path: Path, more: str) -> Prepared:
    folder = tmp_path / "M"
    save(linear_model(4), folder / "1")
    (folder / CONFIG_FILE).write_text(CONFIG + more, encoding="utf-8")
    config = Config.model_validate({"model": {"uri": str(folder), "name": "M"}})
    return prepare(config, into=tmp_path / "into", tracking_uri="")


@pytest.mark.parametrize(
    ("batching", "stalls"),
    [
        ("dynamic_batching { }", False),
        ("dynamic_batching { max_queue_delay_microseconds: 100 preserve_ordering: true }", False),
        ("dynamic_batching { default_queue_policy { max_queue_size: 4 } }", True),
        ("dynamic_batching { priority_levels: 2 default_priority_level: 1 }", True),
    ],
)
def test_queue_whose_requests_the_server_leaves_is_told_of(tmp_path: Path, batching: str, stalls: bool) -> None:
    assert ("queue_stalls" in [note.code for note in prepared(tmp_path, GROUP + batching).notes]) == stalls


@pytest.mark.parametrize(("more", "told"), [("", False), ("rate_limiter { priority: 2 }", True)])
def test_rate_limiter_is_told_of_as_no_server_says_whether_it_heeds_it(tmp_path: Path, more: str, told: bool) -> None:
    group = f"instance_group [{{ count: 2 kind: KIND_CPU {more} }}]"
    assert ("rate_limiter_unheeded" in [note.code for note in prepared(tmp_path, group).notes]) == told

"""Scaling over blocks, and the file that keeps it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hcopt.deploy.scaling import FILE_NAME, Scaling, read_scaling, scaling_of, write_scaling
from hcopt.errors import ConfigError


def test_ratio_by_hand() -> None:
    # (90 + 90) / (100 + 100) and (110 + 88) / (110 + 110): 0.9 both.
    found = scaling_of([(100, 100), (110, 110)], [(90, 90), (110, 88)], cpus_per_server=1)
    assert (found.servers, found.block_count, found.cpus_per_server) == (2, 2, 1)
    for value in (found.ratio, found.ci_low, found.ci_high):
        assert math.isclose(value, 0.9)


def test_interval_widens_with_the_blocks_differences() -> None:
    found = scaling_of([(100, 100)] * 3, [(95, 95), (100, 100), (90, 90)], cpus_per_server=1)
    assert found.ci_low < 0.95 < found.ci_high


@pytest.mark.parametrize("blocks", [[], [(1, 1)], [(1, 1), (1,)]])
def test_too_little_to_compare_is_refused(blocks: list[tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="two blocks"):
        scaling_of(blocks, blocks, cpus_per_server=1)


def test_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    scaling = Scaling(servers=2, cpus_per_server=1, block_count=8, ratio=0.97, ci_low=0.95, ci_high=0.99)
    assert read_scaling(tmp_path) is None
    write_scaling(tmp_path, scaling)
    assert read_scaling(tmp_path) == scaling


def test_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{}")
    with pytest.raises(ConfigError, match=r"cannot read .*: Field required") as refused:
        read_scaling(tmp_path)
    assert "hcopt scale-check" in (refused.value.remedy or "")

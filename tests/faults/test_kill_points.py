"""A run killed at four points, in different stages and between an `open` and its `rename`; resumed each time.

`python -m tests.faults` does the same at a hundred random points, with the noise gate, Model Analyzer and capacity too.
"""

from __future__ import annotations

from pathlib import Path

from tests.faults.scenes import SHORTEST, Aim
from tests.faults.stories import tell

_RUN = "runs/RUN"
AIMS = (
    # Before there is anything to go on with.
    Aim(stage="fetch", operation="os.rename", name=f"{_RUN}/run.json"),
    Aim(stage="sweep", after_s=1.5),
    # The line is written, and nobody has been told.
    Aim(stage="confirmation", operation="open", name=f"{_RUN}/measurements.jsonl", nth=2, calls=12),
    # The report's PDF is there, its page is not.
    Aim(stage="report", operation="os.rename", name=f"{_RUN}/reports/summaries/small/result_summary.html"),
)


def test_run_that_is_killed_again_and_again_ends_complete_and_leaves_nothing(tmp_path: Path) -> None:
    told = tell(SHORTEST, AIMS, tmp_path / "story")
    assert [(str(kill.aim), kill.faults) for kill in told.kills] == [(str(aim), ()) for aim in AIMS]
    assert told.faults == ()

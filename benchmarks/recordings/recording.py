"""A recording: every point of a grid measured in blocks of short windows, in one compact file.

Arrays are (variants, loads, blocks); NaN or 0 where a window failed. `noise` in the head is what the recorder saw of
the machine; `window_s` the length of a window.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from hcopt.analysis.plan import plan_sweep
from hcopt.analysis.ranking import pooled
from hcopt.config.sections import SweepSection
from hcopt.records.measurement import SweepPlan


@dataclass(frozen=True)
class Recording:
    """One grid, measured; the default is the plan's, and the first row is the first of its distinct variants."""

    plan: SweepPlan
    limit_ms: float
    throughput: NDArray[np.float64]
    p99_ms: NDArray[np.float64]
    misses: NDArray[np.int64]
    requests: NDArray[np.int64]
    window_s: NDArray[np.float64]
    noise: dict[str, Any] = field(default_factory=dict)


def part_of(recording: Recording, sweep: SweepSection) -> Recording:
    """What was recorded of a smaller grid.

    Raises:
        ValueError: The grid has a point that was not recorded.
    """
    whole = recording.plan
    plan = plan_sweep(sweep, whole.default, model_name=whole.model_name, instance_kind=whole.instance_kind)
    recorded = list(pooled(whole))
    rows = [recorded.index(settings) for settings in pooled(plan)]
    columns = [whole.loads.index(load) for load in plan.loads]
    arrays = ("throughput", "p99_ms", "misses", "requests", "window_s")
    return replace(recording, plan=plan, **{name: getattr(recording, name)[rows][:, columns] for name in arrays})


def write(recording: Recording, path: Path) -> None:
    head = {"plan": asdict(recording.plan), "limit_ms": recording.limit_ms, "noise": recording.noise}
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(
            file,
            head=np.frombuffer(json.dumps(head, separators=(",", ":")).encode(), dtype=np.uint8),
            throughput=recording.throughput.astype(np.float32),
            p99_ms=recording.p99_ms.astype(np.float32),
            misses=recording.misses.astype(np.int32),
            requests=recording.requests.astype(np.int32),
            window_s=recording.window_s.astype(np.float32),
        )
    temporary.replace(path)


def read(path: Path) -> Recording:
    with np.load(path, allow_pickle=False) as archive:
        head = json.loads(archive["head"].tobytes())
        return Recording(
            plan=TypeAdapter(SweepPlan).validate_python(head["plan"]),
            limit_ms=float(head["limit_ms"]),
            throughput=archive["throughput"].astype(float),
            p99_ms=archive["p99_ms"].astype(float),
            misses=archive["misses"].astype(np.int64),
            requests=archive["requests"].astype(np.int64),
            window_s=archive["window_s"].astype(float),
            noise=head["noise"],
        )

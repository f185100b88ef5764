"""Whether N servers carry N times the load of one, as `hcopt scale-check` has measured it: C(N) / (N · C(1))."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hcopt.analysis.stats import ratio_interval
from hcopt.errors import ConfigError
from hcopt.system import finite_json
from hcopt.system.files import write_whole

FILE_NAME = "scale_check.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Capacity of N isolated servers as a share of N times that of one.

    Attributes:
        servers: N.
        cpus_per_server: CPUs of each server with its load generator; no two share one.
        block_count: Blocks; each measures every server alone and all of them at once.
        ratio: 1 is linear; the bounds are those of a 95 % interval.
    """

    servers: int
    cpus_per_server: int
    block_count: int
    ratio: float
    ci_low: float
    ci_high: float


def scaling_of(
    alone: Sequence[Sequence[float]], together: Sequence[Sequence[float]], *, cpus_per_server: int
) -> Scaling:
    """The ratio of paired blocks.

    Args:
        alone: For each block the throughput of every server with the others idle, in infer/s.
        together: For each block the throughput of every server while all work.
        cpus_per_server: See `Scaling`.

    Raises:
        ValueError: Fewer than two blocks, or blocks of different size.
    """
    if len(alone) < 2 or len({len(block) for block in (*alone, *together)}) != 1:
        raise ValueError("scaling needs two blocks or more, each with all servers")
    found = ratio_interval([sum(block) for block in together], [sum(block) for block in alone])
    if found.ci_low is None or found.ci_high is None:
        raise ValueError("no interval")
    return Scaling(
        servers=len(alone[0]),
        cpus_per_server=cpus_per_server,
        block_count=len(alone),
        ratio=found.estimate,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
    )


def write_scaling(folder: Path, scaling: Scaling) -> Path:
    """Writes it into a run's folder.

    Raises:
        OSError: It cannot be written.
    """
    path = folder / FILE_NAME
    write_whole(path, json.dumps(asdict(scaling), indent=2) + "\n")
    return path


def read_scaling(folder: Path) -> Scaling | None:
    """What `hcopt scale-check` has left in a run's folder; None where it has not been run.

    Raises:
        ConfigError: The file is damaged.
    """
    path = folder / FILE_NAME
    try:
        return TypeAdapter(Scaling).validate_python(finite_json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ConfigError(f"cannot read {path}: {reason}", remedy="Run `hcopt scale-check` again.") from error

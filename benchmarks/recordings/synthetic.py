"""Recordings of a server that does not exist, whose truth is known: instances that batch and share cores, closed loop.

.venv/bin/python -m benchmarks.recordings.synthetic 250 /tmp/synthetic.npz
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.recordings.recording import Recording, write
from hcopt.analysis.plan import plan_sweep
from hcopt.analysis.ranking import pooled
from hcopt.config.sections import SweepSection
from hcopt.records.measurement import LoadPoint, SweepPlan
from hcopt.records.model import ModelConfigVariant

NAME = "Synthetic"
# Lists of values whose product is about the wanted number of variants: batch, instances, delay, threads.
SHAPES = {
    8: ((8, 16), (1, 2), (0, 500), ()),
    60: ((2, 4, 8, 16, 32), (1, 2, 3, 4), (0, 200, 1000), ()),
    250: ((1, 2, 4, 8, 16, 32, 64), (1, 2, 3, 4, 6, 8), (0, 100, 300, 1000, 3000, 6000), ()),
    1000: ((1, 2, 4, 8, 12, 16, 24, 32, 64), (1, 2, 3, 4, 6, 8), (0, 50, 100, 300, 1000, 3000), (1, 2, 4)),
    4000: (
        (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
        (1, 2, 3, 4, 5, 6, 8),
        (0, 25, 50, 100, 200, 500, 1000, 2000, 4000, 8000, 16000),
        (1, 2, 3, 4),
    ),
}
CONCURRENCY = {8: (8, 32)}


@dataclass(frozen=True)
class Server:
    """What is made up: seconds for a batch and for each row of it, cores, and how much threads speed a row up."""

    fixed_s: float = 400e-6
    row_s: float = 110e-6
    cores: int = 4
    client_s: float = 30e-6
    serial_ratio: float = 0.35

    def throughput(self, variant: ModelConfigVariant, load: LoadPoint) -> float:
        """Rows per second in a closed loop: batches fill as far as the requests under way allow."""
        threads = int(dict(variant.parameters).get("intra_op_thread_count", "2"))
        wanted = variant.instance_count * threads
        crowding = max(1.0, wanted / self.cores) ** 1.15
        speed = 1 / (self.serial_ratio + (1 - self.serial_ratio) / threads) / crowding
        share = max(1.0, load.concurrency / variant.instance_count)
        delay_s = variant.max_queue_delay_us * 1e-6
        batch = min(variant.max_batch_size, share ** (0.8 + 0.2 * delay_s / (delay_s + 300e-6)))
        wait_s = delay_s * (1 - batch / variant.max_batch_size) ** 0.5 if variant.max_batch_size > 1 else 0.0
        busy = min(variant.instance_count, load.concurrency)
        round_s = (self.fixed_s + self.row_s * batch) / speed + wait_s
        server = busy * batch / round_s
        return float(1 / (1 / server**4 + (self.client_s / 1) ** 4) ** 0.25 * (1 - 0.1 / load.concurrency))


def plan_of(count: int) -> SweepPlan:
    sizes, instances, delays, threads = SHAPES[count]
    sweep = SweepSection(
        max_batch_size=sizes,
        instance_count=instances,
        max_queue_delay_us=delays,
        concurrency=CONCURRENCY.get(count, (4, 8, 16, 32)),
        parameters={"intra_op_thread_count": threads} if threads else {},
    )
    parameters = (("intra_op_thread_count", "2"),) if threads else ()
    default = ModelConfigVariant(
        config_name=f"{NAME}_config_default",
        max_batch_size=16,
        instance_count=1,
        max_queue_delay_us=0,
        parameters=parameters,
    )
    return plan_sweep(sweep, default, model_name=NAME, instance_kind="KIND_CPU")


def synthetic(
    count: int, *, seed: int = 0, blocks: int = 8, limit_share: float = 0.6, server: Server | None = None
) -> Recording:
    """A recording of about so many variants.

    Args:
        count: One of `SHAPES`.
        seed: Of the points' own deviations and of the noise.
        blocks: How many.
        limit_share: The p99 limit is this quantile of the points' true p99, so that it cuts through the grid.
        server: What is made up.
    """
    random = np.random.default_rng(seed)
    plan = plan_of(count)
    variants = [group[0] for group in pooled(plan).values()]
    server = server or Server(
        fixed_s=400e-6 * random.uniform(0.5, 2), row_s=110e-6 * random.uniform(0.5, 2), cores=int(random.integers(2, 9))
    )
    shape = (len(variants), len(plan.loads))
    mean = np.array([[server.throughput(variant, load) for load in plan.loads] for variant in variants])
    mean *= np.exp(0.012 * random.standard_normal(shape) + 0.012 * random.standard_normal((shape[0], 1)))
    rows = np.array([load.concurrency * load.client_batch_size for load in plan.loads])
    instances = np.array([variant.instance_count for variant in variants])[:, None]
    tail = 1.25 + 0.5 * np.minimum(1.0, instances / 2 / server.cores) ** 2 + 0.25 * (rows < instances * 4)
    p99 = 1000 * rows / mean * tail * np.exp(0.05 * random.standard_normal(shape))
    limit = float(np.quantile(p99, limit_share))
    return _noisy(plan, mean, p99, limit_ms=limit, blocks=blocks, random=random)


def _noisy(
    plan: SweepPlan,
    mean: NDArray[np.float64],
    p99: NDArray[np.float64],
    *,
    limit_ms: float,
    blocks: int,
    random: np.random.Generator,
) -> Recording:
    """Windows with 12 % of noise, blocks that drift by ±10 %, and one window in thirty that something disturbed."""
    shape = (*mean.shape, blocks)
    drift = random.uniform(-0.1, 0.1, blocks)
    residual = 0.10 * random.standard_normal(shape)
    disturbed = random.random(shape) < 1 / 30
    residual -= disturbed * random.uniform(0.1, 0.5, shape)
    # So that the blocks together say the truth: else the best of many points would be the luckiest one.
    residual -= residual.mean(axis=2, keepdims=True)
    throughput = mean[..., None] * np.exp(drift + residual)
    late = np.log(p99)[..., None] - drift - residual + 0.12 * random.standard_normal(shape)
    requests = np.maximum(50, throughput * 0.5).astype(np.int64)
    # The share of requests over the limit falls with a power of it, so that 1 % is where p99 meets the limit.
    share = np.minimum(0.9, 0.01 * np.exp(6 * (late - np.log(limit_ms))))
    return Recording(
        plan=plan,
        limit_ms=limit_ms,
        throughput=throughput,
        p99_ms=np.exp(late),
        misses=random.binomial(requests, share),
        requests=requests,
        window_s=np.full(shape, 0.5),
    )


if __name__ == "__main__":
    write(synthetic(int(sys.argv[1])), Path(sys.argv[2]))

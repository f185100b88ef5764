r"""Records a whole grid on the embedded server: blocks of short windows in random order, kept in one compact file.

In each block the variants come in an order of its own, and each is loaded once for all of its loads, in random order.

.venv/bin/python -m benchmarks.recordings.record benchmarks/recordings/sample.npz --blocks 6 \
    --set model.uri=model_repository/HomeCreditDefaultModel

Resumable: what is there already is not measured again, the file is written after every `--save-every` windows. A block
is finished before the next begins; one that was cut in two counts as one, so leave it at the end of a block if you can.

With `--turns FILE` other work on this machine can wait for its turn instead of disturbing: each visit holds a lock on
the file, and `flock FILE COMMAND` runs between two of them.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.recordings.recording import Recording, read, write
from benchmarks.support.live import Live, live
from hcopt.analysis.ranking import pooled
from hcopt.config.load import load_config
from hcopt.measure.load.perf_analyzer import Window
from hcopt.records.measurement import LoadPoint, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.store.measurements import read_samples
from hcopt.system.machine import read_cpu_times, steal_ratio

UNKNOWN_RATE_INFER_PER_S = 20_000.0
NO_LIMIT_MS = 1e9


def main() -> None:
    options = _options()
    config = load_config(options.config, overrides=options.set, environment={})
    limit_ms = config.constraints.latency_p99_ms or NO_LIMIT_MS
    with live(config) as server:
        plan = server.prepared.plan
        recording = _begun(options.file, plan, limit_ms, options.blocks, server)
        order = np.random.default_rng(config.profiler.seed)
        started, taken = time.monotonic(), 0
        for block in range(options.blocks):
            for visit in _visits(recording, order):
                missing = [place for place in visit if recording.window_s[place[0], place[1], block] == 0]
                with _turn(options.turns):
                    for number, place in enumerate(missing):
                        _measure(server, recording, (*place, block), options.window_s, fresh=number == 0)
                taken += len(missing)
                if taken % options.save_every < len(missing):
                    write(recording, options.file)
                    _say(recording, started, taken)
            write(recording, options.file)
            _say(recording, started, taken)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--window-s", type=float, default=0.5)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--turns", type=Path, metavar="FILE")
    return parser.parse_args()


def _begun(file: Path, plan: SweepPlan, limit_ms: float, blocks: int, server: Live) -> Recording:
    """What is there of this grid, with room for all blocks."""
    shape = (len(pooled(plan)), len(plan.loads), blocks)
    empty = Recording(
        plan=plan,
        limit_ms=limit_ms,
        throughput=np.full(shape, np.nan),
        p99_ms=np.full(shape, np.nan),
        misses=np.zeros(shape, dtype=np.int64),
        requests=np.zeros(shape, dtype=np.int64),
        window_s=np.zeros(shape),
        noise={"environment": _environment(server), "steal": [], "errors": []},
    )
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        return empty
    before = read(file)
    if (before.plan.all_variants, before.plan.loads, before.limit_ms) != (plan.all_variants, plan.loads, limit_ms):
        raise SystemExit(f"{file} is a recording of another grid or limit")
    kept = min(blocks, before.window_s.shape[2])
    for name in ("throughput", "p99_ms", "misses", "requests", "window_s"):
        getattr(empty, name)[..., :kept] = getattr(before, name)[..., :kept]
    return replace(empty, noise=before.noise)


def _environment(server: Live) -> dict[str, object]:
    found = server.server.environment
    return {
        "backend": str(found.backend),
        "cpu_model": found.cpu_model,
        "cpu_count": found.cpu_count,
        "triton_version": found.triton_version,
        "model_sha256": server.prepared.artifact.sha256,
    }


@contextmanager
def _turn(file: Path | None) -> Iterator[None]:
    """Keeps others from working meanwhile."""
    if file is None:
        yield
        return
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
        # A lock goes to whoever asks first: without a pause that would be the next visit, always.
        time.sleep(0.02)


def _visits(recording: Recording, order: np.random.Generator) -> Iterator[list[tuple[int, int]]]:
    """All points that can be measured, those of a variant together, both in an order of this block's own."""
    variants = [group[0] for group in pooled(recording.plan).values()]
    for row in order.permutation(len(variants)):
        possible = max(1, variants[row].max_batch_size)
        columns = order.permutation(len(recording.plan.loads))
        yield [(int(row), int(c)) for c in columns if recording.plan.loads[c].client_batch_size <= possible]


def _measure(server: Live, recording: Recording, place: tuple[int, int, int], window_s: float, *, fresh: bool) -> None:
    """One window; the second try, where the first one failed, lasts longer."""
    row, column, _ = place
    variant, load = list(pooled(recording.plan).values())[row][0], recording.plan.loads[column]
    before = read_cpu_times()
    window = _window(variant, load, window_s=window_s, rate=_rate(recording, row))
    measured = server.runner.measure(window) if fresh else server.runner.perf_analyzer.measure(window)
    if measured.error is not None:
        measured = server.runner.measure(replace(window, window_s=6 * window_s))
    recording.noise["steal"].append(round(steal_ratio(before, read_cpu_times()) or 0.0, 4))
    recording.window_s[place] = measured.duration_s or window_s
    if measured.throughput_infer_per_s is None or measured.latency is None or measured.samples_file is None:
        recording.noise["errors"].append([*place, (measured.error or "")[:200]])
        return
    file = server.folder / measured.samples_file
    recording.throughput[place] = measured.throughput_infer_per_s
    recording.p99_ms[place] = measured.latency.p99_ms
    recording.requests[place], recording.misses[place] = _counts(file, recording.limit_ms)
    file.unlink()


def _rate(recording: Recording, row: int) -> float:
    """The slowest that this variant was, else half of what the others were; caution makes windows long enough."""
    own, all_of_them = recording.throughput[row], recording.throughput
    if np.isfinite(own).any():
        return float(np.nanmin(own))
    return 0.5 * float(np.nanmedian(all_of_them)) if np.isfinite(all_of_them).any() else UNKNOWN_RATE_INFER_PER_S


def _window(variant: ModelConfigVariant, load: LoadPoint, *, window_s: float, rate: float) -> Window:
    return Window(variant=variant, load=load, expected_infer_per_s=rate, window_s=window_s, phase="sweep")


def _counts(samples: Path, limit_ms: float) -> tuple[int, int]:
    """Requests of a window, and how many of them took longer than the limit."""
    found = read_samples(samples)
    latency = found.latency_ns[found.sent_ns >= found.warm_up_ns]
    return len(latency), int((latency > limit_ms * 1e6).sum())


def _say(recording: Recording, started: float, taken: int) -> None:
    done = int((recording.window_s > 0).sum())
    each_s = (time.monotonic() - started) / max(1, taken)
    left = recording.window_s.size - done
    print(
        json.dumps({"windows": done, "left": left, "each_s": round(each_s, 2), "left_min": round(left * each_s / 60)})
    )


if __name__ == "__main__":
    main()

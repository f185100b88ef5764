"""perf_analyzer's exports, the figures of their samples, and measurements.jsonl, which is written a line at a time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from hcopt.errors import OutputError, ProfileError
from hcopt.records.measurement import LatencySummary, Measurement
from hcopt.system.clock import read_time
from hcopt.system.files import append_line, whole_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE_NAME = "measurements.jsonl"
# In the place of a response's time.
NO_ANSWER = -1
# As many as hcopt ever asks for in a window, and more.
_FEW_REQUESTS = 500_000
# What 64 bits hold, less some to spare for differences.
_MAX_NS = 2**62


class NoAnswerError(ProfileError):
    """Requests were sent, and the server answered none of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSamples:
    """The requests of one window, in the order of sending.

    Attributes:
        sent_ns: When each was sent, in ns from the first one; shape (n,).
        latency_ns: How long each took, in ns; shape (n,).
        warm_up_ns: Requests sent before this count as warm-up.
        end_ns: The last sending: until then the load was kept up, afterwards it runs dry.
        failed_count: Requests after the warm-up that are known to be without an answer; not among the above.
        lag_ns: In an open loop `sent_ns` is when each was meant to be sent, and this how much later it was; shape (n,).
        turns_ns: Where the load was kept up in turns, the beginning and end of what counts of each, its own warm-up
            left out; shape (m, 2). None: from the warm-up to the last sending.
    """

    sent_ns: NDArray[np.int64]
    latency_ns: NDArray[np.int64]
    warm_up_ns: int
    end_ns: int
    failed_count: int = 0
    lag_ns: NDArray[np.int64] | None = None
    turns_ns: NDArray[np.int64] | None = None

    @property
    def stretches_ns(self) -> list[tuple[int, int]]:
        """From when to when what happened counts."""
        if self.turns_ns is None:
            return [(self.warm_up_ns, self.end_ns)]
        return [(int(begin), int(end)) for begin, end in self.turns_ns]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFigures:
    """What one window of samples shows; `miss_count` of its requests took longer than the limit, where there is one.

    `late_ratio` is that of `Measurement`.
    """

    duration_s: float
    throughput_infer_per_s: float
    latency: LatencySummary
    request_count: int
    miss_count: int | None = None
    late_ratio: float | None = None


def read_export(export: Path, *, warm_up_ratio: float) -> RequestSamples:
    """Reads a perf_analyzer `--profile-export-file` as a stream; its tensors are passed over, not kept.

    Args:
        export: The file.
        warm_up_ratio: This share of the time from the first to the last sending is warm-up.

    Raises:
        ProfileError: The file is cut, not such an export, holds no request that was answered, or the clock was set
            back while it was made.

    Source: perf_analyzer's docs/measurements_metrics.md; seen in the exports of perf_analyzer 2.51.
    """
    import numpy as np

    pairs = read_pairs(export)
    unanswered = pairs[:, 1] == NO_ANSWER
    failed = pairs[unanswered, 0]
    if len(failed):
        pairs = pairs[~unanswered]
    if not len(pairs):
        raise NoAnswerError("perf_analyzer's export holds no request that was answered")
    first = int(pairs[0, 0])
    # In place: what a copy of millions of requests takes is the most of the memory here.
    pairs[:, 1] -= pairs[:, 0]
    pairs[:, 0] -= first
    if pairs[:, 1].min() < 0:
        raise ProfileError("perf_analyzer's export has answers from before their requests: the clock was set back")
    end = int(pairs[-1, 0])
    warm_up = int(end * warm_up_ratio)
    return RequestSamples(
        sent_ns=pairs[:, 0],
        latency_ns=pairs[:, 1],
        warm_up_ns=warm_up,
        end_ns=end,
        failed_count=int(np.count_nonzero(failed - first >= warm_up)),
    )


def read_pairs(export: Path) -> NDArray[np.int64]:
    """Every request of an export as (sent, last response) in ns of the system's clock, in the order of sending.

    A request that has no response has `NO_ANSWER` in its place. Shape (n, 2).

    Raises:
        ProfileError: The file is cut, or not such an export.
    """
    import ijson
    import numpy as np

    try:
        try:
            # As decimal numbers, the tensors alone would take three times as long.
            pairs = _pairs(export, use_float=True)
        except ijson.JSONError:
            # One of their values is more than 64 bits hold.
            pairs = _pairs(export, use_float=False)
    # A decimal number has an exponent of 18 digits at most; one with more is decimal.InvalidOperation.
    except (OSError, ijson.JSONError, ValueError, ArithmeticError) as error:
        raise ProfileError(f"perf_analyzer's export {export.name} cannot be read: {error}") from error
    if len(pairs) <= _FEW_REQUESTS:
        return pairs[np.argsort(pairs[:, 0], kind="stable")]
    # As one value a request, which is sorted in place: slower, but an order and a copy would take twice their memory.
    pairs.view([("sent", np.int64), ("received", np.int64)]).sort(axis=0, order="sent")
    return pairs


def _pairs(export: Path, *, use_float: bool) -> NDArray[np.int64]:
    import numpy as np

    with export.open("rb") as file:
        return np.fromiter(_send_and_receive(file, use_float=use_float), dtype=np.int64).reshape(-1, 2)


def _send_and_receive(file: object, *, use_float: bool) -> Iterator[int]:
    """Sent, last response in ns of each request in turn."""
    import ijson

    for request in ijson.items(file, "experiments.item.requests.item", use_float=use_float):
        if isinstance(request, dict) and "timestamp" in request:
            responses = request.get("response_timestamps")
            yield _nanoseconds(request["timestamp"])
            yield _nanoseconds(responses[-1]) if isinstance(responses, list) and responses else NO_ANSWER


def _nanoseconds(value: Any) -> int:
    # Compared before it is converted: 1e999999999 is a number of a few bytes, and an integer of as many digits.
    if type(value) not in (int, float, Decimal) or not 0 <= value <= _MAX_NS:
        raise ValueError(f"{str(value)[:40]} is no time")
    return int(value)


def figures(samples: RequestSamples, *, client_batch_size: int, latency_limit_ms: float | None = None) -> WindowFigures:
    """Throughput and latency of the window between warm-up and the last sending, or of all its turns together.

    Throughput counts the responses that arrived in the window. Latency is that of the requests sent in it, but for the
    last ones: perf_analyzer leaves out what was not answered at its end, which would be the slow ones of them. So those
    sent within the longest latency of the end do not count, nor more than half of the window. Each turn ends so.

    Raises:
        ProfileError: The window is empty.
    """
    import numpy as np

    received, stretches = samples.sent_ns + samples.latency_ns, samples.stretches_ns
    duration_s = sum(end - begin for begin, end in stretches) / 1e9
    completed = sum(int(np.count_nonzero((received > begin) & (received <= end))) for begin, end in stretches)
    latencies_ms = np.concatenate([_settled_latency_ns(samples, begin, end) for begin, end in stretches]) / 1e6
    if duration_s <= 0 or completed == 0 or not len(latencies_ms):
        raise ProfileError(f"the window is too short: {len(samples.sent_ns)} requests, none of them after the warm-up")
    return WindowFigures(
        duration_s=duration_s,
        throughput_infer_per_s=completed * client_batch_size / duration_s,
        latency=summarised(latencies_ms),
        request_count=len(latencies_ms),
        miss_count=None if latency_limit_ms is None else int(np.count_nonzero(latencies_ms > latency_limit_ms)),
    )


def summarised(latencies_ms: NDArray[np.float64]) -> LatencySummary:
    """Mean and percentiles of at least one latency, linear between the ranks."""
    import numpy as np

    p50, p90, p95, p99 = (float(value) for value in np.percentile(latencies_ms, (50, 90, 95, 99)))
    return LatencySummary(avg_ms=float(latencies_ms.mean()), p50_ms=p50, p90_ms=p90, p95_ms=p95, p99_ms=p99)


def _settled_latency_ns(samples: RequestSamples, begin_ns: int, end_ns: int) -> NDArray[np.int64]:
    inside = (samples.sent_ns >= begin_ns) & (samples.sent_ns <= end_ns)
    latency = samples.latency_ns[inside]
    longest_ns = int(latency.max(initial=0))
    settled_ns = max(end_ns - longest_ns, (begin_ns + end_ns) // 2)
    return latency[samples.sent_ns[inside] <= settled_ns]


def write_samples(samples: RequestSamples, path: Path) -> None:
    """Writes raw samples compactly, as a NumPy archive with the fields of RequestSamples; whole or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    import numpy as np

    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            sent_ns=np.diff(samples.sent_ns, prepend=0),
            latency_ns=samples.latency_ns,
            warm_up_ns=samples.warm_up_ns,
            end_ns=samples.end_ns,
            failed_count=samples.failed_count,
            **({} if samples.lag_ns is None else {"lag_ns": samples.lag_ns}),
            **({} if samples.turns_ns is None else {"turns_ns": samples.turns_ns}),
        )


def read_samples(path: Path) -> RequestSamples:
    """Reads what `write_samples` wrote.

    Raises:
        ProfileError: The file is not there or not such an archive.
    """
    import zipfile
    import zlib

    import numpy as np

    try:
        if path.exists() and not zipfile.is_zipfile(path):
            raise ValueError("no NumPy archive")
        with np.load(path, allow_pickle=False) as archive:
            return RequestSamples(
                sent_ns=np.cumsum(archive["sent_ns"]),
                latency_ns=archive["latency_ns"],
                warm_up_ns=int(archive["warm_up_ns"]),
                end_ns=int(archive["end_ns"]),
                failed_count=int(archive["failed_count"]),
                lag_ns=archive.get("lag_ns"),
                turns_ns=archive.get("turns_ns"),
            )
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ProfileError(f"cannot read the samples {path}: {error}") from error


def append_measurement(folder: Path, measurement: Measurement) -> None:
    """Adds a line to measurements.jsonl of a run's folder and waits until the disk has it.

    Raises:
        OSError: It cannot be written; all lines before stay whole.
    """
    append_line(folder / FILE_NAME, json.dumps(asdict(measurement), ensure_ascii=False, allow_nan=False))


def cut_torn_line(folder: Path) -> None:
    """Cuts off a last line that a crash has left without its end, so that the next one gets a line of its own.

    Raises:
        OutputError: The file cannot be read or written.
    """
    path = folder / FILE_NAME
    try:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
    except OSError as error:
        raise OutputError(f"cannot mend {path}: {error.strerror or error}", remedy="Make it writable.") from error


def read_measurements(folder: Path) -> tuple[Measurement, ...]:
    """All measurements of a run; a last line that was cut off by a crash is left out.

    Raises:
        ProfileError: The file is not there, or a line before the last is damaged.
    """
    path = folder / FILE_NAME
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise ProfileError(f"cannot read {path}: {error}") from error
    adapter = TypeAdapter(Measurement)
    if lines and not lines[-1].endswith(b"\n"):
        del lines[-1]
    return tuple(_parsed(adapter, line, f"{path}, line {number}") for number, line in enumerate(lines, start=1))


def _parsed(adapter: TypeAdapter[Measurement], line: bytes, place: str) -> Measurement:
    try:
        found = adapter.validate_json(line)
        read_time(found.started_at)
    except ValueError as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ProfileError(f"{place} is damaged: {said}", remedy="Remove the line.") from error
    return found


def is_usable(*values: float) -> bool:
    """Whether every figure is a positive, finite number."""
    return all(math.isfinite(value) and value > 0 for value in values)

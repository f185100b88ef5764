"""How much faster or slower each node of a cluster is, and the measurements without that, so that they compare.

log(figure) = point + node, where a point is a configuration at a load. Points that several nodes have measured, above
all the default's, tell the nodes apart. Pure, on NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hcopt.records.measurement import Measurement
from hcopt.records.run import RunRecord

# Where nobody has measured it, a window's throughput is believed to vary by so much: on a quiet machine it is 2-3 %, on
# a shared one up to 8 %. The ratio of p99 to the mean varies about twice as much, from 1 % of the requests.
_NOISE_RATIO = 0.05
_TAIL_TO_THROUGHPUT_NOISE = 2.0
# How many residuals a belief is worth beside the sweep's own: the A/A measurement has at least so many blocks.
_MEASURED_DEGREES, _BELIEVED_DEGREES = 4, 1
# Windows; what is below is rounding.
_NO_LINK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEffect:
    """What a node does to the figures of whatever is measured on it.

    Attributes:
        node: Its name.
        throughput_ratio: To the nodes' geometric mean, estimated; above 1 is a fast node.
        latency_p99_ratio: Likewise; below 1 is a fast node.
        linked: Whether it has measured a point that another node has too; where not, both ratios are 1 because nobody
            can know better, and its figures stay as they are.
    """

    node: str
    throughput_ratio: float
    latency_p99_ratio: float
    linked: bool


@dataclass(frozen=True, slots=True)
class _Design:
    """Which window was of which point on which node; both of shape (windows,)."""

    point: NDArray[np.int64]
    node: NDArray[np.int64]


def node_effects(measurements: Iterable[Measurement], *, noise_ratio: float | None) -> tuple[NodeEffect, ...]:
    """Each node's effect, in the order in which they appear; none where fewer than two have measured.

    Least squares over all points, the logarithms of the effects summing to zero; then drawn to zero by the share of
    their spread that the noise of windows explains. Nodes that are linked among themselves, but not with the rest,
    have effects that sum to zero among themselves.

    p99 is taken as its ratio to the mean latency, which a closed loop has from the throughput (Little's law): a slow
    node stretches both alike, so what is left beside the throughput's effect is small, though p99 itself is noisy.

    Args:
        measurements: Of the sweep, closed-loop; failed ones and those without a node's name take no part.
        noise_ratio: Standard deviation of the log throughput of one window, from the A/A measurement; None where
            nobody has measured it. The residuals of the sweep itself count beside it: they also hold what the nodes do
            to one configuration more than to another, which no single node's A/A measurement can show.

    Source: Searle, Casella, McCulloch (1992), Variance Components, 5.5 (Henderson's method 3) for the variances and 7.4
        for the shrunk effects; as in Efron & Morris (1975), Data Analysis Using Stein's Estimator. Residuals beside a
        belief in their variance: Smyth (2004), Linear Models and Empirical Bayes Methods. Assumes that nodes of one
        kind differ by a normal log-ratio, and windows by independent ones.
    """
    taken = [m for m in measurements if m.error is None and m.node is not None]
    names = list(dict.fromkeys(m.node for m in taken if m.node is not None))
    if len(names) < 2:
        return ()
    design, logs = _design(taken, names), [_logs(m) for m in taken]
    believed = _NOISE_RATIO if noise_ratio is None else noise_ratio
    degrees = _BELIEVED_DEGREES if noise_ratio is None else _MEASURED_DEGREES
    speed = _effects(design, [throughput for throughput, _ in logs], believed, degrees)
    tail_noise = _TAIL_TO_THROUGHPUT_NOISE * believed
    tail = _effects(design, [tail for _, tail in logs], tail_noise, _BELIEVED_DEGREES)
    linked = _links(design).diagonal() > _NO_LINK
    return tuple(
        NodeEffect(
            node=name,
            throughput_ratio=math.exp(speed[index]),
            latency_p99_ratio=math.exp(tail[index] - speed[index]),
            linked=bool(linked[index]),
        )
        for index, name in enumerate(names)
    )


def without_node_effects(measurements: Iterable[Measurement], *, noise_ratio: float | None) -> tuple[Measurement, ...]:
    """The measurements as a node in the middle of all would have given them, see `node_effects`.

    Throughput is divided by its node's ratio, and every latency by that of p99, so that percentiles keep their order.
    What is no client-side figure stays as it was measured; so do failed measurements, and all of a single node.
    """
    given = tuple(measurements)
    effects = {effect.node: effect for effect in node_effects(given, noise_ratio=noise_ratio)}
    return tuple(m if m.node not in effects else _without(m, effects[m.node]) for m in given)


def effects_taken_out(run: RunRecord) -> tuple[NodeEffect, ...]:
    """Of every node of a run, in the order in which they appear: what the ranking of its sweep has taken out.

    A node without a part in that, since it shares no point of the sweep with another or since an adaptive search is
    ranked as it was measured, counts as not linked. A run on one machine has no nodes.
    """
    swept = () if run.decisions else tuple(m for m in run.measurements if m.phase == "sweep")
    noise_ratio = None if run.noise is None else run.noise.window_sd_ratio
    found = {effect.node: effect for effect in node_effects(swept, noise_ratio=noise_ratio)}
    names = dict.fromkeys(m.node for m in run.measurements if m.node is not None)
    unknown = NodeEffect(node="", throughput_ratio=1.0, latency_p99_ratio=1.0, linked=False)
    return tuple(found.get(name, replace(unknown, node=name)) for name in names)


def _without(measurement: Measurement, effect: NodeEffect) -> Measurement:
    throughput, latency = measurement.throughput_infer_per_s, measurement.latency
    if throughput is None or latency is None:
        return measurement
    ratio = effect.latency_p99_ratio
    return replace(
        measurement,
        throughput_infer_per_s=throughput / effect.throughput_ratio,
        latency=replace(latency, **{name: ms / ratio for name, ms in asdict(latency).items() if ms is not None}),
    )


def _logs(measurement: Measurement) -> tuple[float, float]:
    """Of the throughput, and of p99 over the mean latency but for what is the same at one point."""
    assert measurement.throughput_infer_per_s is not None  # by Measurement's own check: it has no error
    assert measurement.latency is not None
    throughput = math.log(measurement.throughput_infer_per_s)
    return throughput, math.log(measurement.latency.p99_ms) + throughput


def _design(taken: Sequence[Measurement], names: Sequence[str]) -> _Design:
    # Equal settings are one configuration, under whatever name: a default that is in the grid too links twice.
    points: dict[Hashable, int] = {}
    numbers = [points.setdefault((m.variant.settings, m.load), len(points)) for m in taken]
    places = {name: index for index, name in enumerate(names)}
    return _Design(np.array(numbers), np.array([places[m.node] for m in taken if m.node is not None]))


def _links(design: _Design) -> NDArray[np.float64]:
    """The normal equations' matrix of the nodes, once each point has its own mean: the Laplacian of what they share."""
    # Windows of each point on each node.
    counts = np.zeros((design.point.max() + 1, design.node.max() + 1))
    np.add.at(counts, (design.point, design.node), 1.0)
    shared = counts.T @ (counts / counts.sum(axis=1, keepdims=True))
    return np.asarray(np.diag(counts.sum(axis=0)) - shared)


def _effects(design: _Design, logs: Sequence[float], noise: float, degrees: int) -> list[float]:
    """Logarithms of the nodes' effects on one figure.

    Args:
        design: Of the windows.
        logs: Of the figure, one a window.
        noise: Standard deviation that a window is believed to have.
        degrees: How many residuals that is worth.
    """
    windows = np.bincount(design.point)
    values = np.array(logs) - (np.bincount(design.point, logs) / windows)[design.point]
    weights, directions = np.linalg.eigh(_links(design))
    known = weights > _NO_LINK
    weights, directions = weights[known], directions[:, known]
    # Least squares in the directions in which the estimates are independent, each with the variance noise / weight.
    sums = directions.T @ np.bincount(design.node, values, minlength=len(directions))
    estimates = sums / weights
    explained = float(sums @ estimates)
    residual_degrees = len(logs) - len(windows) - len(weights)
    residuals = max(0.0, float(values @ values) - explained)
    variance = (degrees * noise**2 + residuals) / (degrees + residual_degrees)
    spread = (explained - variance * len(weights)) / float(weights.sum()) if len(weights) else 0.0
    if spread <= 0:
        return [0.0] * len(directions)
    return [float(effect) for effect in directions @ (estimates * spread / (spread + variance / weights))]

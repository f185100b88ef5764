"""A Gaussian process over the points of a grid, fitted to windows that share the drift of their block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_ROOT_5 = 5**0.5
# Standard deviation of the level of all values together, in their own (logarithmic) unit.
_LEVEL_SD = 2.0
_JITTER = 1e-8
# Where a window lies further from its prediction than so many standard deviations, something else has disturbed it.
_OUTLIER_SDS = 2.5
_MAX_ITERATIONS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed of a surface before there is data: medians of log-normal priors, all in logarithms of ratios.

    Attributes:
        signal: How far points of the grid differ.
        point: How far a single point deviates from its neighbours without a pattern.
        block: How far blocks drift.
        noise: How far windows of one point vary within a block.
    """

    signal: float
    point: float
    block: float
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Measured values: for each window its point's row in the features, its block, and the value; all of shape (n,)."""

    point: Integers
    block: Integers
    value: Array


@dataclass(frozen=True, slots=True)
class Surface:
    """A fitted surface over all points.

    Attributes:
        features: (points, dimensions), scaled to 0-1.
        logs: Logarithms of signal, point, block, noise, and of a length scale for each dimension.
        windows: The data.
        weight: For each window, how much its noise variance is enlarged.
        level: The values' median.
        factor: Lower Cholesky factor of the windows' covariance.
        coefficients: Covariance⁻¹ (value − level).
    """

    features: Array
    logs: Array
    windows: Windows
    weight: Array
    level: float
    factor: Array
    coefficients: Array

    @property
    def noise(self) -> float:
        """Standard deviation of one window within its block."""
        return float(np.exp(self.logs[3]))

    @property
    def block(self) -> float:
        """Standard deviation of the drift between blocks."""
        return float(np.exp(self.logs[2]))

    def marginals(self, points: Integers) -> tuple[Array, Array]:
        """Means and standard deviations at some points."""
        cross = self._cross(points)
        half = linalg.solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        own = np.exp(2 * self.logs[0]) + np.exp(2 * self.logs[1]) + _LEVEL_SD**2
        variance = own - np.einsum("ij,ij->j", half, half)
        return np.asarray(self.level + cross @ self.coefficients), np.sqrt(np.maximum(variance, _JITTER))

    def joint(self, points: Integers) -> tuple[Array, Array]:
        """Means and the covariance matrix at some points."""
        cross = self._cross(points)
        half = linalg.solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        own = _covariance(self.features[points], self.features[points], self.logs)
        own += np.exp(2 * self.logs[1]) * (points[:, None] == points[None, :]) + _LEVEL_SD**2
        return np.asarray(self.level + cross @ self.coefficients), np.asarray(own - half.T @ half)

    def covariance_with(self, point: int) -> Array:
        """Covariance of every point with one of them, given the windows; (points,)."""
        one = np.array([point])
        every = np.arange(len(self.features))
        own = _covariance(self.features, self.features[one], self.logs)[:, 0] + _LEVEL_SD**2
        own[point] += np.exp(2 * self.logs[1])
        solved = linalg.cho_solve((self.factor, True), self._cross(one).T, check_finite=False)
        return np.asarray(own - (self._cross(every) @ solved)[:, 0])

    def _cross(self, points: Integers) -> Array:
        measured = self.windows.point
        same = points[:, None] == measured[None, :]
        smooth = _covariance(self.features[points], self.features[measured], self.logs)
        return np.asarray(smooth + np.exp(2 * self.logs[1]) * same + _LEVEL_SD**2)


def fit(features: Array, windows: Windows, prior: Prior, *, start: Surface | None, refit: bool) -> Surface:
    """The surface that the windows suggest.

    Args:
        features: All points of the grid, (points, dimensions), scaled to 0-1.
        windows: At least one.
        prior: Where the fit begins, and what it is drawn to where there are few windows.
        start: An earlier surface of the same grid, to begin from.
        refit: Whether to fit the hyperparameters again, or to keep those of `start`.

    Source: Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, 2.3 and 5.4; Matérn 5/2 with a length
    scale for each dimension, maximum a posteriori. Blocks as random effects: method.md, rule 14.
    """
    centre = _centre(prior, features.shape[1])
    logs = centre if start is None else start.logs
    weight = np.ones(len(windows.value))
    if start is not None:
        weight[: len(start.weight)] = start.weight
    if refit or start is None:
        logs = _fitted(features, windows, weight, centre, logs)
    surface = _solved(features, windows, weight, logs)
    return _solved(features, windows, _weights(surface), logs)


def _centre(prior: Prior, dimensions: int) -> Array:
    scales = [prior.signal, prior.point, prior.block, prior.noise]
    return np.asarray(np.log([*scales, *([0.7] * dimensions)]))


# How firmly each hyperparameter is held to its prior: standard deviations of the logarithms.
_HOLD = (0.7, 0.7, 0.8, 0.6)
_HOLD_LENGTH = 0.8


def _fitted(features: Array, windows: Windows, weight: Array, centre: Array, logs: Array) -> Array:
    x = features[windows.point]
    squares = (x[:, None, :] - x[None, :, :]) ** 2
    same_point = (windows.point[:, None] == windows.point[None, :]).astype(float)
    same_block = (windows.block[:, None] == windows.block[None, :]).astype(float)
    residual = windows.value - np.median(windows.value)
    hold = np.array([*_HOLD, *([_HOLD_LENGTH] * features.shape[1])])

    def loss(candidate: Array) -> tuple[float, Array]:
        signal, point, block, noise = np.exp(2 * candidate[:4])
        scaled = squares / np.exp(2 * candidate[4:])
        distance = np.sqrt(scaled.sum(axis=2))
        decay = signal * np.exp(-_ROOT_5 * distance)
        smooth = decay * (1 + _ROOT_5 * distance + 5 / 3 * distance**2)
        total = smooth + point * same_point + block * same_block + _LEVEL_SD**2
        total[np.diag_indices_from(total)] += noise * weight + _JITTER
        factor = linalg.cholesky(total, lower=True, check_finite=False)
        inverse = linalg.cho_solve((factor, True), np.eye(len(total)), check_finite=False)
        coefficients = inverse @ residual
        off = (candidate - centre) / hold
        value = 0.5 * residual @ coefficients + np.log(np.diag(factor)).sum() + 0.5 * off @ off
        # d loss = ½ tr((K⁻¹ − c cᵀ) dK)
        outer = inverse - np.outer(coefficients, coefficients)
        slope = decay * (5 / 3) * (1 + _ROOT_5 * distance) * outer
        gradient = np.concatenate(
            (
                [(outer * smooth).sum(), point * (outer * same_point).sum(), block * (outer * same_block).sum()],
                [noise * (np.diag(outer) * weight).sum()],
                0.5 * np.einsum("ij,ijk->k", slope, scaled),
            )
        )
        return float(value), gradient + off / hold

    bounds = [(middle - 3 * width, middle + 3 * width) for middle, width in zip(centre, hold, strict=True)]
    found = optimize.minimize(
        loss, logs, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _MAX_ITERATIONS}
    )
    return np.asarray(found.x, dtype=float)


def _solved(features: Array, windows: Windows, weight: Array, logs: Array) -> Surface:
    x = features[windows.point]
    total = _covariance(x, x, logs) + _LEVEL_SD**2
    total += np.exp(2 * logs[1]) * (windows.point[:, None] == windows.point[None, :])
    total += np.exp(2 * logs[2]) * (windows.block[:, None] == windows.block[None, :])
    total[np.diag_indices_from(total)] += np.exp(2 * logs[3]) * weight + _JITTER
    factor = linalg.cholesky(total, lower=True, check_finite=False)
    level = float(np.median(windows.value))
    coefficients = linalg.cho_solve((factor, True), windows.value - level, check_finite=False)
    return Surface(features, logs, windows, weight, level, factor, coefficients)


def _weights(surface: Surface) -> Array:
    """Noise variances enlarged where a window lies far from what the others say of it (Huber's weights).

    Source: Huber, Ronchetti (2009), Robust Statistics, 7.8; leave-one-out residuals as in Rasmussen, Williams, 5.4.2.
    """
    inverse = linalg.cho_solve((surface.factor, True), np.eye(len(surface.weight)), check_finite=False)
    left_out = surface.coefficients / np.diag(inverse)
    spread = np.sqrt(1 / np.diag(inverse) + surface.noise**2 * (1 - surface.weight))
    far = np.abs(left_out) / np.maximum(spread, surface.noise)
    return np.asarray(np.maximum(1.0, far / _OUTLIER_SDS))


def _covariance(one: Array, other: Array, logs: Array) -> Array:
    scale = np.exp(logs[4:])
    a, b = one / scale, other / scale
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squared, 0.0))
    polynomial = 1 + _ROOT_5 * distance + 5 / 3 * distance**2
    return np.asarray(np.exp(2 * logs[0]) * polynomial * np.exp(-_ROOT_5 * distance))


def draw(mean: Array, covariance: Array, count: int, random: np.random.Generator) -> Array:
    """Samples of joint values, (count, points)."""
    values, vectors = linalg.eigh(covariance, check_finite=False)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(mean + random.standard_normal((count, len(mean))) @ root.T)

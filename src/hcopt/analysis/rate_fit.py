"""The share of requests over the limit against the arrival rate, fitted to all windows, and where it crosses 1 %.

The log odds of a miss rise with the log of the rate. Windows differ by more than chance, since requests of one burst
share their fate, so that a window's own share is beta-distributed around that line. Where the line crosses 1 %, how
steep it is and how much windows differ are unknown: each combination on a grid has a probability, by Bayes' rule.

Source: Skellam (1948), JRSS B 10, 257-261, for the beta-binomial distribution; Gelman et al. (2013), Bayesian Data
    Analysis, 3.7, for logistic regression on a grid; MacKay (1992), Neural Computation 4, 590-604, for what a
    measurement tells.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO, CLEAR_MISS_RATIO, ROOM_MISS_RATIO, clearly_breaks
from hcopt.records.verdict import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Rates of the grid, as shares of the closed-loop throughput, each so much above the one below.
LEAST_SHARE, MOST_SHARE, _STEP = 0.02, 2.0, 1.03
# Log odds a log rate: from a machine of many speeds to a queue that is full at once.
_SLOPES = (3.0, 6.0, 12.0, 24.0, 48.0)
# Correlation of the fates of two requests in a window.
_CORRELATIONS = (0.01, 0.05, 0.2, 0.5)
# What is known beforehand: the boundary is mostly somewhat below the closed-loop throughput, but may be anywhere.
_MIDDLE_SHARE, _LOG_SD, _ANYWHERE = 0.75, 0.35, 0.2
# Nothing is less likely than this, so that one window never rules out all.
_LEAST = 1e-9
# Of the interval that is told.
_TAIL = 0.05


class RateFit:
    """What windows have shown of one server.

    Args:
        closed_loop_infer_per_s: Its closed-loop throughput.
    """

    def __init__(self, closed_loop_infer_per_s: float) -> None:
        import numpy as np

        self._closed_loop = closed_loop_infer_per_s
        self.rates = closed_loop_infer_per_s * np.exp(_log_shares())
        near = np.exp(-0.5 * ((_log_shares() - math.log(_MIDDLE_SHARE)) / _LOG_SD) ** 2)
        prior = (1 - _ANYWHERE) * near / near.sum() + _ANYWHERE / len(near)
        self._log_weights = np.log(prior)[:, None, None] + np.zeros((1, len(_SLOPES), len(_CORRELATIONS)))

    def add(self, rate_infer_per_s: float, misses: int, requests: int) -> None:
        """Takes a window.

        Of one that clearly breaks the limit only that counts: how many of its requests are late is a matter of how long
        it lasted, and says nothing of where the boundary is.
        """
        import numpy as np
        from scipy import special

        hits, others = _beta(math.log(rate_infer_per_s / self._closed_loop) - _log_shares())
        if clearly_breaks(misses / requests):
            likelihood = np.log(np.maximum(1 - special.betainc(hits, others, CLEAR_MISS_RATIO), _LEAST))
        else:
            likelihood = special.betaln(hits + misses, others + requests - misses) - special.betaln(hits, others)
        self._log_weights = self._log_weights + likelihood

    def boundary(self) -> Estimate:
        """The rate at which 1 % is over the limit: its median, and between which rates it lies by 90 %.

        A bound that is the grid's own is None.
        """
        import numpy as np

        below = np.cumsum(self._probabilities().sum(axis=(1, 2)))
        low, middle, high = np.searchsorted(below, (_TAIL, 0.5, 1 - _TAIL))
        last = len(self.rates) - 1
        return Estimate(
            estimate=float(self.rates[min(middle, last)]),
            ci_low=float(self.rates[low]) if low > 0 else None,
            ci_high=float(self.rates[high]) if high < last else None,
        )

    def supports(self, rate_infer_per_s: float) -> float:
        """The probability that the boundary is not below a rate."""
        return float(self._probabilities()[self.rates >= rate_infer_per_s].sum())

    def passes(self, windows: int) -> Floats:
        """For each rate of the grid the probability that each of so many windows leaves room below the limit."""
        passes: Floats = _leave_room(windows) @ self._probabilities().ravel()
        return passes

    def tells(self) -> Floats:
        """For each rate of the grid what one window would tell: whether it leaves room or not, in nats."""
        told: Floats = _entropy(self.passes(1)) - _entropies() @ self._probabilities().ravel()
        return told

    def _probabilities(self) -> Floats:
        import numpy as np

        weights = np.exp(self._log_weights - self._log_weights.max())
        probabilities: Floats = weights / weights.sum()
        return probabilities


@cache
def _log_shares() -> Floats:
    import numpy as np

    count = round(math.log(MOST_SHARE / LEAST_SHARE) / math.log(_STEP)) + 1
    return np.linspace(math.log(LEAST_SHARE), math.log(MOST_SHARE), count)


@cache
def _leave_room(windows: int) -> Floats:
    """Probability that all of so many windows leave room; a row for each rate, a column for all that may be true."""
    from scipy import special

    shares = _log_shares()
    hits, others = _beta(shares[:, None] - shares)
    room: Floats = special.betainc(hits, others, ROOM_MISS_RATIO).reshape(len(shares), -1) ** windows
    return room


@cache
def _entropies() -> Floats:
    return _entropy(_leave_room(1))


def _beta(log_distance: Floats) -> tuple[Floats, Floats]:
    """The two parameters of a window's share, by the log of its rate over the boundary.

    Returns:
        Each of shape (…, slopes, correlations).
    """
    import numpy as np
    from scipy import special

    slopes, correlations = np.array(_SLOPES)[:, None], np.array(_CORRELATIONS)
    odds = special.logit(ALLOWED_MISS_RATIO) + slopes * log_distance[..., None, None]
    share = np.clip(special.expit(odds), 1e-9, 1 - 1e-9)
    total = 1 / correlations - 1
    return share * total, (1 - share) * total


def _entropy(probability: Floats) -> Floats:
    from scipy import special

    found: Floats = special.entr(probability) + special.entr(1 - probability)
    return found

"""Comments of the manifests: the figures from which the autoscaler's are computed, and their sources. Pure.

A source is a key of summary.json, an option, or a formula of the figures above it; what follows a semicolon is remark.
"""

from __future__ import annotations

from hcopt.deploy.capacity import (
    CONNECTION_AGE_S,
    SCHEDULING_S,
    SYNC_PERIOD_S,
    TOLERANCE_RATIO,
    Reaction,
    lower_bound,
    target_rate,
)
from hcopt.deploy.kubernetes.options import Options
from hcopt.records.verdict import Capacity

_CAPACITY = "summary.json: models[0].capacity"
# Of summary.json; their sum is the measured start.
START_KEYS = "elapsed_phases_s.serve + elapsed_phases_s.load"


def fact_lines(options: Options, found: Capacity, reaction: Reaction) -> tuple[str, ...]:
    """A line each, in the order in which they build on each other."""
    growth, target = reaction.growth, target_rate(lower_bound(found), reaction)
    given = (
        ("base", exact(options.base_infer_per_s), "infer/s", "--base"),
        ("peak", exact(options.peak_infer_per_s), "infer/s", "--peak"),
        ("C", exact(lower_bound(found)), "infer/s a pod", f"{_CAPACITY}.sustainable_rate_infer_per_s.ci_low"),
        ("rows", str(found.client_batch_size), "a request", f"{_CAPACITY}.client_batch_size"),
        ("limit", exact(found.latency_p99_limit_ms), "ms", f"{_CAPACITY}.latency_p99_limit_ms"),
        ("scrape", str(options.scrape_interval_s), "s", "--scrape-interval"),
        ("window", str(options.rate_window_s), "s", "--rate-window"),
        ("sync", exact(SYNC_PERIOD_S), "s", "--horizontal-pod-autoscaler-sync-period; Kubernetes' default"),
        ("start", exact(reaction.pod_start_s), "s", _start_source(options)),
        ("tolerance", exact(TOLERANCE_RATIO), "", "--horizontal-pod-autoscaler-tolerance; Kubernetes' default"),
        (
            "g",
            f"{growth.ratio_per_s:.6g}",
            "a second",
            f"({exact(growth.factor)} - 1) / {exact(growth.within_s)}; --growth {options.growth_text}",
        ),
        ("τ", exact(reaction.total_s), "s", "scrape + window + sync + start"),
        ("T", f"{target:.6g}", "infer/s a pod", "C / ((1 + tolerance) · (1 + g · τ))"),
    )
    return tuple(f"{name} = {f'{text} {unit}'.rstrip()}: {source}" for name, text, unit, source in given)


def _start_source(options: Options) -> str:
    if options.pod_start_s is not None:
        return "--pod-start"
    return (
        f"ceil({START_KEYS}) + {SCHEDULING_S} + {CONNECTION_AGE_S}; {SCHEDULING_S} s to "
        f"schedule it and fetch the model are assumed, {CONNECTION_AGE_S} s is the longest until clients find it"
    )


def exact(value: float) -> str:
    """The shortest text that is this very number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)

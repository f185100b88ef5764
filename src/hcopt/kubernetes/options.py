"""What the user says about the cluster and the load: the command line's options, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hcopt.capacity import USUAL_RATE_WINDOW_S, USUAL_SCRAPE_INTERVAL_S, Growth
from hcopt.errors import ConfigError
from hcopt.kubernetes.names import is_dns_label

Autoscaler = Literal["hpa", "keda"]

# Prometheus needs two samples in the window to give a rate at all.
_FEWEST_SCRAPES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run cannot know.

    Attributes:
        base_infer_per_s: The load that is always there.
        peak_infer_per_s: The highest load to carry.
        growth: The steepest rise to keep up with, and `growth_text` as the user wrote it.
        autoscaler: A plain HorizontalPodAutoscaler, or KEDA's ScaledObject.
        name: Of all objects; None takes the model's.
        namespace: Where they go.
        image: Triton's; None takes what was measured, or the release of the same Triton.
        model_uri: The folder on S3 that holds the model's files; None: see `plan`.
        s3_endpoint_url: Of an S3 service that is not Amazon's.
        memory_mb: Of the server's container, in MiB.
        scrape_interval_s: Of Prometheus.
        rate_window_s: Of `rate()`.
        pod_start_s: From the HPA's decision to the first answer; None: from the run.
        node_cpu: CPU model of the nodes; None: not known.
        exclusive_cpus: Whether the nodes give whole CPUs to one container alone (kubelet's static policy).
        prometheus_url: Where KEDA finds Prometheus.
    """

    base_infer_per_s: float
    peak_infer_per_s: float
    growth: Growth
    growth_text: str
    autoscaler: Autoscaler = "hpa"
    name: str | None = None
    namespace: str = "default"
    image: str | None = None
    model_uri: str | None = None
    s3_endpoint_url: str | None = None
    memory_mb: int = 2048
    scrape_interval_s: int = USUAL_SCRAPE_INTERVAL_S
    rate_window_s: int = USUAL_RATE_WINDOW_S
    pod_start_s: int | None = None
    node_cpu: str | None = None
    exclusive_cpus: bool = False
    prometheus_url: str = "http://prometheus-operated.monitoring.svc:9090"

    def __post_init__(self) -> None:
        for option, name in (("--name", self.name), ("--namespace", self.namespace)):
            if name is not None and not is_dns_label(name):
                raise ConfigError(
                    f"{option} {name!r} is no name that Kubernetes takes",
                    remedy="Up to 40 lower-case letters, digits and hyphens, beginning with a letter.",
                )
        if self.model_uri is not None and not self.model_uri.startswith("s3://"):
            raise ConfigError(f"--model-uri {self.model_uri!r} is not on S3", remedy="Give s3://bucket/folder.")
        if self.scrape_interval_s < 1 or self.memory_mb < 1 or (self.pod_start_s or 0) < 0:
            raise ConfigError("--scrape-interval and --memory are at least 1, --pod-start at least 0")
        if self.rate_window_s < _FEWEST_SCRAPES * self.scrape_interval_s:
            raise ConfigError(
                f"--rate-window {self.rate_window_s} s holds fewer than two scrapes of {self.scrape_interval_s} s",
                remedy=f"Give at least {_FEWEST_SCRAPES * self.scrape_interval_s} s, better twice that.",
            )

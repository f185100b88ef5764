"""What the user says about the cluster and the load: the command line's options, checked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hcopt.deploy.capacity import USUAL_RATE_WINDOW_S, USUAL_SCRAPE_INTERVAL_S, Growth
from hcopt.deploy.kubernetes.names import is_dns_label
from hcopt.errors import ConfigError

Autoscaler = Literal["hpa", "keda"]

USUAL_POD_MEMORY_MB = 2048
# Of what was measured: servers grow with time, and requests come in other mixes than those of the sweep.
MEMORY_MARGIN = 1.5
# Prometheus needs two samples in the window to give a rate at all.
_MIN_SCRAPES = 2
_URL = r"https?://[^\s/]+\S*"
IMAGE = r"[^\s'\"#]+"
_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL = re.compile(rf"(?P<label>([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_PART})=(?P<value>({_PART})?)")


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
        memory_mb: Of the server's container, in MiB; None: by what the run has measured.
        scrape_interval_s: Of Prometheus.
        rate_window_s: Of `rate()`.
        pod_start_s: From the HPA's decision to the first answer; None: from the run.
        node_selector: Labels of the nodes, with their values.
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
    memory_mb: int | None = None
    scrape_interval_s: int = USUAL_SCRAPE_INTERVAL_S
    rate_window_s: int = USUAL_RATE_WINDOW_S
    pod_start_s: int | None = None
    node_selector: tuple[tuple[str, str], ...] = ()
    node_cpu: str | None = None
    exclusive_cpus: bool = False
    prometheus_url: str = "http://prometheus-operated.monitoring.svc:9090"

    def __post_init__(self) -> None:
        check_name("--name", self.name)
        check_name("--namespace", self.namespace)
        if not (self.peak_infer_per_s > 0 and 0 <= self.base_infer_per_s <= self.peak_infer_per_s < math.inf):
            raise ConfigError(
                f"--base {self.base_infer_per_s:g} and --peak {self.peak_infer_per_s:g} are no range of loads",
                remedy="Give both in inferences per second, the peak above 0 and the base no higher than it.",
            )
        for option, text, pattern, example in (
            ("--image", self.image, IMAGE, "nvcr.io/nvidia/tritonserver:26.09-py3"),
            ("--model-uri", self.model_uri, r"s3://[^\s/]+/[^\n\r\t]+", "s3://bucket/folder"),
            ("--s3-endpoint-url", self.s3_endpoint_url, _URL, "http://minio.storage.svc:9000"),
            ("--prometheus-url", self.prometheus_url, _URL, "http://prometheus-operated.monitoring.svc:9090"),
        ):
            check_text(option, text, pattern, example)
        if (
            min(self.scrape_interval_s, 1 if self.memory_mb is None else self.memory_mb) < 1
            or (self.pod_start_s or 0) < 0
        ):
            raise ConfigError(
                "--scrape-interval and --memory are at least 1, --pod-start at least 0",
                remedy="Seconds, MiB and seconds.",
            )
        check_rate_window(scrape_interval_s=self.scrape_interval_s, rate_window_s=self.rate_window_s)


def check_name(option: str, name: str | None) -> None:
    """Whether objects can be called that.

    Raises:
        ConfigError: Kubernetes would not take it.
    """
    if name is not None and not is_dns_label(name):
        raise ConfigError(
            f"{option} {name!r} is no name that Kubernetes takes",
            remedy="Up to 40 lower-case letters, digits and hyphens, beginning with a letter.",
        )


def check_text(option: str, text: str | None, pattern: str, example: str) -> None:
    """Whether an option's text, if there is one, has the form that it needs.

    Raises:
        ConfigError: It has not.
    """
    if text is not None and re.fullmatch(pattern, text) is None:
        raise ConfigError(f"{option} {text!r} cannot be one", remedy=f"Give one such as {example}.")


def check_rate_window(*, scrape_interval_s: int, rate_window_s: int) -> None:
    """Whether `rate()` over the window can give a rate.

    Raises:
        ConfigError: It would have one sample, or none.
    """
    min_s = _MIN_SCRAPES * scrape_interval_s
    if rate_window_s < min_s:
        raise ConfigError(
            f"--rate-window {rate_window_s} s holds fewer than two scrapes of {scrape_interval_s} s",
            remedy=f"Give at least {min_s} s, better twice that.",
        )


def parse_node_selector(texts: Sequence[str], *, option: str = "--node-selector") -> tuple[tuple[str, str], ...]:
    """`LABEL=VALUE` texts of an option.

    Raises:
        ConfigError: One is none.
    """
    labels = []
    for text in texts:
        match = _LABEL.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"{option} {text!r} is no label of a node",
                remedy="Give one such as node.kubernetes.io/instance-type=c7i.xlarge.",
            )
        labels.append((match["label"], match["value"]))
    return tuple(labels)

"""Reads the autoscaler out of manifests that were written, so that what is deployed can be simulated.

Targets, minimum, maximum and window count as they stand, changed by hand or not. The delays are those of the figures
in the comments above them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from hcopt.deploy.capacity import Reaction
from hcopt.deploy.hpa import Autoscaler
from hcopt.errors import ConfigError
from hcopt.records.json import JsonObject

_FILES = ("hpa.yaml", "scaledobject.yaml")
_RUN = re.compile(r"^# From run (?P<run_id>\S+): ", re.MULTILINE)
_DELAY = re.compile(r"^# (?P<name>scrape|window|start) = (?P<seconds>[0-9.]+) s: ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenAutoscaler:
    """The autoscaler of a folder of manifests, and the delays that its target was computed for.

    Attributes:
        file: Where it stands.
    """

    file: Path
    autoscaler: Autoscaler
    scrape_interval_s: float
    rate_window_s: float
    pod_start_s: float

    def with_its_delays(self, reaction: Reaction) -> Reaction:
        """The reaction as the manifests have it; all else stays."""
        return replace(
            reaction,
            scrape_interval_s=self.scrape_interval_s,
            rate_window_s=self.rate_window_s,
            pod_start_s=self.pod_start_s,
        )


def read_autoscaler(folder: Path, run_id: str) -> WrittenAutoscaler:
    """The one that `hcopt kubernetes` has written for a run.

    Raises:
        ConfigError: There is none, it is that of another run, or it is damaged.
    """
    file = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if file is None:
        raise ConfigError(
            f"{folder} has neither {' nor '.join(_FILES)}",
            remedy="Give the folder that `hcopt kubernetes` has written (--out).",
        )
    try:
        text = file.read_text(encoding="utf-8")
        found = _RUN.search(text)
        if found is not None and found["run_id"] != run_id:
            raise ConfigError(
                f"{file} was written for run {found['run_id']}, and the capacity is that of {run_id}",
                remedy="Give that run, or write this one's manifests with `hcopt kubernetes`.",
            )
        spec = yaml.safe_load(text)["spec"]
        delays = {one["name"]: float(one["seconds"]) for one in _DELAY.finditer(text)}
        return WrittenAutoscaler(
            file=file,
            autoscaler=_of_hpa(spec) if file.name == _FILES[0] else _of_keda(spec),
            scrape_interval_s=delays["scrape"],
            rate_window_s=delays["window"],
            pod_start_s=delays["start"],
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot read the autoscaler in {file}: {error}", remedy="Write it again with `hcopt kubernetes`."
        ) from error


def _of_hpa(spec: JsonObject) -> Autoscaler:
    return Autoscaler(
        targets=tuple(_number(metric["pods"]["target"]["averageValue"]) for metric in spec["metrics"]),
        min_replicas=spec["minReplicas"],
        max_replicas=spec["maxReplicas"],
        scale_down_window_s=_window_s(spec["behavior"]),
    )


def _of_keda(spec: JsonObject) -> Autoscaler:
    return Autoscaler(
        targets=tuple(_number(trigger["metadata"]["threshold"]) for trigger in spec["triggers"]),
        min_replicas=spec["minReplicaCount"],
        max_replicas=spec["maxReplicaCount"],
        scale_down_window_s=_window_s(spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]),
    )


def _window_s(behavior: JsonObject) -> float:
    return float(behavior["scaleDown"]["stabilizationWindowSeconds"])


def _number(quantity: object) -> float:
    """A Kubernetes quantity: a plain number, or thousandths."""
    text = str(quantity)
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)

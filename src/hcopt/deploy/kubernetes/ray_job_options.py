"""What the user says about a cluster to measure on: the command line's options, checked. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hcopt.deploy.kubernetes.names import dns_label
from hcopt.deploy.kubernetes.options import IMAGE, check_name, check_text
from hcopt.errors import ConfigError
from hcopt.system.redaction import without_credentials

USUAL_CPUS = 4
USUAL_MEMORY_MB = 8192
USUAL_NAME = "hcopt-profile"
# Source: "Object Names and IDs" in Kubernetes' documentation: a claim's is a DNS subdomain (RFC 1123).
_SUBDOMAIN = r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*"
_GROUP = "nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGroup:
    """Nodes of one kind; `selector` has the labels that they have."""

    name: str
    selector: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RayJobOptions:
    """What only the user knows.

    Attributes:
        name: Of all objects, and `namespace` where they go.
        image: It has hcopt with Ray, bash, and wget for KubeRay's probes; for head and workers alike.
        workers: Nodes that measure, of each class.
        cpus: Of a measuring pod, whole ones.
        memory_mb: Of each pod, in MiB.
        node_selector: Labels of all nodes that measure, with their values.
        node_classes: A label and its value for each kind of nodes; none: one kind.
        results_claim: PersistentVolumeClaim for the results; None: they go with the head.
        models: As `hcopt profile --model`; none: the configuration's.
        config_text: A config.yaml; None: the defaults.
        overrides: As `hcopt profile --set`.
    """

    name: str = USUAL_NAME
    namespace: str = "default"
    image: str
    workers: int = 1
    cpus: int = USUAL_CPUS
    memory_mb: int = USUAL_MEMORY_MB
    node_selector: tuple[tuple[str, str], ...] = ()
    node_classes: tuple[tuple[str, str], ...] = ()
    results_claim: str | None = None
    models: tuple[str, ...] = ()
    config_text: str | None = None
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("--name", self.name)
        check_name("--namespace", self.namespace)
        check_text("--image", self.image, IMAGE, "registry.example.com/hcopt:0.1.0")
        check_text("--results-claim", self.results_claim, _SUBDOMAIN, "hcopt-results")
        if min(self.workers, self.cpus, self.memory_mb) < 1:
            raise ConfigError("--workers, --cpus and --memory are at least 1", remedy="Pods, CPUs and MiB.")
        _check_labels(self.node_selector, self.node_classes)
        for option, texts in (("--model", self.models), ("--set", self.overrides), ("--config", (self.config_text,))):
            _check_no_login(option, texts, logins=f"{self.name}-logins")

    @property
    def groups(self) -> tuple[WorkerGroup, ...]:
        """A worker group for each kind of nodes."""
        if not self.node_classes:
            return (WorkerGroup(name=_GROUP, selector=self.node_selector),)
        return tuple(
            WorkerGroup(name=_group_name(node_class), selector=(*self.node_selector, node_class))
            for node_class in self.node_classes
        )


def _group_name(node_class: tuple[str, str]) -> str:
    return dns_label(node_class[1], kind=_GROUP)


def _check_labels(selector: tuple[tuple[str, str], ...], classes: tuple[tuple[str, str], ...]) -> None:
    named = Counter(label for label, _ in selector)
    named.update({label for label, _ in classes})
    if twice := [label for label, count in named.items() if count > 1]:
        raise ConfigError(
            f"no node has two values of the label {twice[0]}",
            remedy="Give a label once as --node-selector, or its values as --node-class.",
        )
    groups = Counter(map(_group_name, classes))
    if twice := [group for group, count in groups.items() if count > 1]:
        raise ConfigError(
            f"two of --node-class would both be the worker group {twice[0]}",
            remedy="Give each class of nodes once, with values that differ in letters or digits.",
        )


def _check_no_login(option: str, texts: Iterable[str | None], *, logins: str) -> None:
    if any(text is not None and without_credentials(text) != text for text in texts):
        # Never the text itself: it holds the login.
        raise ConfigError(
            f"{option} holds a login, which would stand in the file",
            remedy=f"Take it out, and put it into the Secret {logins} as MLFLOW_TRACKING_URI or AWS_….",
        )

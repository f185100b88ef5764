"""Which nodes are of one kind: only what was measured on one kind is ever ranked together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

from hcopt.job.cluster.values import Node
from hcopt.records.measurement import OWN_CONDITIONS, Environment

_MB_PER_GB = 1024


@dataclass(slots=True, kw_only=True)
class NodeClass:
    """Nodes with the same fingerprint.

    Attributes:
        environment: That, as the first of them says it.
        nodes: Those that are there.
    """

    environment: Environment
    nodes: list[Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What people call such a machine."""
        found = self.environment
        memory_gb = round(found.memory_mb / _MB_PER_GB)
        return f"{found.cpu_model}, {found.cpu_count} CPUs, {memory_gb} GB"


def alike(one: Environment, other: Environment) -> bool:
    """Whether two nodes are of one kind."""
    return one.same_conditions(other, but=OWN_CONDITIONS)


def grouped(found: Iterable[tuple[Node, Environment]]) -> tuple[NodeClass, ...]:
    """Nodes by their kind, the kind with the most of them first."""
    classes: list[NodeClass] = []
    for node, environment in found:
        for known in classes:
            if alike(known.environment, environment):
                known.nodes.append(node)
                break
        else:
            classes.append(NodeClass(environment=environment, nodes=[node]))
    return tuple(sorted(classes, key=lambda one: -len(one.nodes)))


def class_names(classes: Sequence[NodeClass]) -> tuple[str, ...]:
    """A name for each, none twice: where machines look alike, with what tells them apart, whatever their order."""
    return tuple(_told_apart(one, [other for other in classes if other.name == one.name]) for one in classes)


def _told_apart(one: NodeClass, same: Sequence[NodeClass]) -> str:
    differing = [
        f"{key.name} {getattr(one.environment, key.name)}"
        for key in fields(Environment)
        if key.name not in OWN_CONDITIONS and len({getattr(other.environment, key.name) for other in same}) > 1
    ]
    return f"{one.name} ({', '.join(differing)})" if differing else one.name

"""`runtime.kind` of the configuration becomes a Runtime."""

from __future__ import annotations

from hcopt.config import RuntimeSection
from hcopt.errors import ConfigError
from hcopt.runtime.base import Runtime


def choose_runtime(section: RuntimeSection) -> Runtime:
    """The runtime that the configuration asks for; `auto` is the embedded one.

    Raises:
        ConfigError: This version does not have it.
    """
    from hcopt.runtime.embedded import EmbeddedRuntime

    if section.kind in {"auto", "embedded"}:
        return EmbeddedRuntime(cpuset_server=section.cpuset.server, cpuset_client=section.cpuset.client)
    raise ConfigError(
        f"runtime.kind {section.kind} is not in this version yet",
        remedy="Use --runtime embedded: Triton from PyPI, no Docker needed.",
    )

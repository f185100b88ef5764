"""A probe, what it finds, and the time it gets for that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from hcopt.errors import HcoptError
from hcopt.records.json import JsonObject

Status = Literal["ok", "warning", "error"]
# More than what MLflow and S3 may take to say that nobody answers.
_LIMIT_S = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a probe says.

    Attributes:
        status: A warning does not keep a run from its end; an error does.
        said: What there is, or what is wrong.
        remedy: What to do about it, where something is.
    """

    status: Status
    said: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Something that can be looked at."""

    name: str
    look: Callable[[], Finding]
    limit_s: float = _LIMIT_S


def ok(said: str) -> Finding:
    """All is well."""
    return Finding(status="ok", said=said)


def warn(said: str, remedy: str) -> Finding:
    """Something that does not keep a run from its end."""
    return Finding(status="warning", said=said, remedy=remedy)


def fail(said: str, remedy: str | None = None) -> Finding:
    """Something that does."""
    return Finding(status="error", said=said, remedy=remedy)


def fault(error: HcoptError, status: Status = "error") -> Finding:
    """An error of hcopt's as a finding."""
    return Finding(status=status, said=error.message, remedy=error.remedy)


def find(probe: Probe) -> Finding:
    """Looks, and gives up when the probe's time is over; an error of hcopt's is a finding too."""
    found: list[Finding] = []

    def look() -> None:
        try:
            found.append(probe.look())
        except HcoptError as error:
            found.append(fault(error))

    # A thread that hangs in a system call, such as a name's resolution, ends with the process only.
    thread = threading.Thread(target=look, name=f"probe {probe.name}", daemon=True)
    thread.start()
    thread.join(probe.limit_s)
    if found:
        return found[0]
    if thread.is_alive():
        return fail(f"no answer within {probe.limit_s:g} s")
    return fail("the probe itself broke", "Report the traceback above.")


def as_json(findings: dict[str, Finding]) -> JsonObject:
    """All findings for machines."""
    return {
        "ok": not any(finding.status == "error" for finding in findings.values()),
        "findings": [{"name": name, **asdict(finding)} for name, finding in findings.items()],
    }

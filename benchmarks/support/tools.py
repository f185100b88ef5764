"""A runtime's tools with something of one's own about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hcopt.system.process import Finished
from hcopt.triton.base import Endpoint, Tool, Tools
from hcopt.triton.programs import find_perf_analyzer, find_program


@dataclass(frozen=True)
class PassedOn:
    """The tools as they are; what is to be other is overridden."""

    tools: Tools

    @property
    def endpoint(self) -> Endpoint:
        return self.tools.endpoint

    @property
    def cpu_count(self) -> int:
        return self.tools.cpu_count

    @property
    def exports_tensors(self) -> bool:
        return self.tools.exports_tensors

    def path(self, host_path: Path) -> str:
        return self.tools.path(host_path)

    def program(self, tool: Tool) -> str:
        return self.tools.program(tool)

    def run(
        self,
        tool: Tool,
        arguments: Sequence[str],
        *,
        folder: Path,
        log: Path,
        timeout_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        return self.tools.run(tool, arguments, folder=folder, log=log, timeout_s=timeout_s, on_line=on_line)


def installed_perf_analyzer(tools: Tools) -> Path:
    """The installed tritonclient's: unlike the one that hcopt brings it exports the answers, and counts requests."""
    own = Path(tools.program("perf_analyzer"))
    script = own.with_name("installed_perf_analyzer")
    text = own.read_text(encoding="utf-8")
    installed = find_program("tritonclient", "perf_analyzer")
    script.write_text(text.replace(str(find_perf_analyzer().program), str(installed)), encoding="utf-8")
    script.chmod(0o700)
    return script

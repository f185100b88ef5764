"""perf_analyzer and Model Analyzer as this machine's own environment has them, ready to be started by one another."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hcopt.errors import RuntimeStartError
from hcopt.system import process
from hcopt.system.cpu_list import format_cpu_list, parse_cpu_list
from hcopt.system.environ import environment_variables
from hcopt.system.machine import cpus_of
from hcopt.system.process import Finished
from hcopt.system.redaction import without_secrets
from hcopt.triton.base import Endpoint, Tool
from hcopt.triton.programs import find_library, find_perf_analyzer, find_program, find_system_library, triton_libraries

# Model Analyzer's command lines break on white space and `=`, Triton starts its stubs through a shell without quotes.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")
# The libraries that perf_analyzer links, by the names it knows them by, and by those that pytriton's wheel gave them.
_PERF_ANALYZER_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_BIND_AND_EXEC = (
    "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); os.execv(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTools:
    """The measuring programs on this machine.

    Attributes:
        endpoint: The server that they measure.
        programs: Where each one is.
        private_folder: For their temporary files, and for links to what has an odd character in its path.
        cpuset: The CPUs that they may use; None leaves that to the kernel.
    """

    endpoint: Endpoint
    programs: Mapping[Tool, Path]
    private_folder: Path
    cpuset: str | None = None

    def path(self, host_path: Path) -> str:
        """The same path, made absolute; where Model Analyzer cannot take it, that through a link to its folder."""
        path = host_path.absolute()
        if _PLAIN_PATH.fullmatch(str(path)):
            return str(path)
        link = self.private_folder / f"link_{hashlib.sha256(os.fsencode(path.parent)).hexdigest()[:16]}"
        if not link.is_symlink():
            link.symlink_to(path.parent)
        return str(link / path.name)

    @property
    def cpu_count(self) -> int:
        """See `Tools.cpu_count`."""
        return len(cpus_of(self.cpuset))

    @property
    def exports_tensors(self) -> bool:
        """See `Tools.exports_tensors`."""
        return find_perf_analyzer().exports_tensors

    def program(self, tool: Tool) -> str:
        """Where the tool is; perf_analyzer's path has neither white space nor `=`."""
        return str(self.programs[tool])

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
        """Runs a tool in `folder` to its end or its time limit; see `hcopt.system.process.run`.

        Raises:
            RuntimeStartError: It cannot be started.
            OSError: There is no room for the log, and so none for the run either.
        """
        argv = [*bound_to(self.cpuset), self.program(tool), *arguments]
        # Model Analyzer leaves its temporary files where they are when it is stopped.
        environment = {**tools_environment(environment_variables()), "TMPDIR": str(self.private_folder)}
        try:
            return process.run(argv, log=log, timeout_s=timeout_s, env=environment, cwd=folder, on_line=on_line)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            raise RuntimeStartError(f"cannot run {tool} in {folder}: {error}", log=log) from error


def install_tools(folder: Path) -> dict[Tool, Path]:
    """Makes the tools ready inside a private folder, which has to outlive their use; they need no Triton here.

    Raises:
        RuntimeStartError: One of them, or a library, is not installed.
    """
    return {
        "perf_analyzer": _wrapped_perf_analyzer(folder, find_perf_analyzer().program),
        "model-analyzer": find_program("triton-model-analyzer", "model-analyzer"),
        "python3": Path(sys.executable),
    }


def _wrapped_perf_analyzer(folder: Path, program: Path) -> Path:
    """A script that starts perf_analyzer with the libraries it misses, which are for nobody else."""
    libraries = folder / "perf_analyzer_libraries"
    libraries.mkdir()
    brought = triton_libraries()
    for name, pattern in _PERF_ANALYZER_LIBRARIES.items():
        found = find_system_library(name) if brought is None else find_library(brought, pattern)
        (libraries / name).symlink_to(found)
    script = folder / "perf_analyzer"
    script.write_text(
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH={libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n"
        f'exec {shlex.quote(str(program))} "$@"\n',
        encoding="utf-8",
    )
    script.chmod(0o700)
    return script


def tools_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the tools: this Python's programs first, no proxy before the server, lines as they come."""
    loopback = "127.0.0.1,localhost"
    return {
        **without_secrets(environment),
        "PATH": first_on_path(environment),
        "PYTHONUNBUFFERED": "1",
        # gRPC and requests send even 127.0.0.1 through a proxy unless they are told.
        **{name: ",".join(filter(None, (environment.get(name), loopback))) for name in ("no_proxy", "NO_PROXY")},
    }


def first_on_path(environment: Mapping[str, str]) -> str:
    """`PATH` with the running Python's own folder in front."""
    return os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])


def bound_to(cpuset: str | None) -> list[str]:
    """What stands in front of a command line to bind the program to some CPUs."""
    if cpuset is None:
        return []
    cpus = ",".join(str(cpu) for cpu in sorted(parse_cpu_list(cpuset)))
    return [sys.executable, "-I", "-S", "-c", _BIND_AND_EXEC, cpus]


def check_cpuset(key: str, cpuset: str | None) -> None:
    """Does nothing where this process may use all CPUs of the list.

    Raises:
        RuntimeStartError: It may not; names the key of the configuration.
    """
    allowed = os.sched_getaffinity(0)
    if cpuset not in (None, "auto") and not parse_cpu_list(cpuset) <= allowed:
        raise RuntimeStartError(
            f"{key} is {cpuset}, but this process may only use the CPUs {format_cpu_list(allowed)}",
            remedy=f"Set {key} to some of those, or to null.",
        )


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder for as long as the context lasts: only ours, programs run from it, no odd character in its path.

    Raises:
        RuntimeStartError: This machine has no place for one.
    """
    with ExitStack() as stack:
        yield _new_private_folder(stack)


def _new_private_folder(stack: ExitStack) -> Path:
    parents = (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")
    for parent in filter(_PLAIN_PATH.fullmatch, parents):
        with ExitStack() as attempt:
            try:
                # Tried in the folder itself: a full disk may take an empty file and no folder.
                folder = attempt.enter_context(process.temporary_folder(parent=Path(parent)))
                probe = folder / "probe"
                probe.touch(mode=0o700)
                runs = os.access(probe, os.X_OK)
                probe.unlink()
            except OSError:
                continue
            if runs:
                stack.push(attempt.pop_all())
                return folder
    raise RuntimeStartError(
        f"no folder for temporary programs among {', '.join(parents)}",
        remedy="Set TMPDIR to a writable folder that is not mounted noexec and whose path is plain ASCII, no spaces.",
    )

"""A real Ray cluster on this machine: a head that measures nothing, and workers that share nothing but the machine."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hcopt.system.watchdog import MARK

RAY = Path(sys.executable).parent / "ray"
_LIMIT_S, _STARTS = 600.0, 3
_STORE_BYTES = "100000000"
_MARK = "HCOPT_TEST_NODE"


@dataclass(kw_only=True)
class RayNodes:
    """One cluster.

    Attributes:
        root: Its folder; short, since Ray has sockets in it.
        port: Of the head.
        host: Of the head.
        prefixes: What a node's `ray start` begins with, by its name, such as a network namespace of its own.
        addresses: Of nodes that have one of their own.
    """

    root: Path
    port: int
    host: str = "127.0.0.1"
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    prefixes: dict[str, Sequence[str]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start_head(self, *options: str) -> None:
        self._start("head", "--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false", *options)

    def start_workers(self, *names: str, resources: str = '{"hcopt": 1}', cpus: int = 2) -> None:
        """Each has its own folder for temporary files, and so its own lock, as a machine has.

        One after the other: two on one machine that start at once choose the same ports.
        """
        for name in names:
            self._start(name, f"--address={self.address}", f"--num-cpus={cpus}", f"--resources={resources}")

    def _start(self, name: str, *options: str) -> None:
        """Again where it does not come to live: another program may take the port that Ray has chosen."""
        for _ in range(_STARTS):
            process = self._begin(name, *options)
            if self._runs(name, process):
                return
            self.kill_node(name)
        raise AssertionError(self._log(name))

    def _begin(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        temporary = self.root / name
        temporary.mkdir(exist_ok=True)
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "AWS_"))},
            "RAY_USAGE_STATS_ENABLED": "0",
            # A busy machine takes its time.
            "RAY_raylet_start_wait_time_s": "100",
            "TMPDIR": str(temporary),
            _MARK: f"{self.name}.{name}.",
        }
        with (temporary / "ray.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *self.prefixes.get(name, ()),
                    *(str(RAY), "start", "--block", f"--temp-dir={self.root / 'r'}"),
                    *(f"--object-store-memory={_STORE_BYTES}", "--disable-usage-stats", *options),
                    *([f"--node-ip-address={self.addresses[name]}"] if name in self.addresses else []),
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def _log(self, name: str) -> str:
        return (self.root / name / "ray.log").read_text(encoding="utf-8", errors="replace")

    def _runs(self, name: str, process: subprocess.Popen[bytes]) -> bool:
        """Waits until the node has started; False where it, or its raylet, has ended before."""
        deadline = time.monotonic() + _LIMIT_S
        seen = False
        while "Ray runtime started" not in self._log(name):
            there = self._raylet(name) is not None
            if process.poll() is not None or (seen and not there) or time.monotonic() > deadline:
                return False
            seen |= there
            time.sleep(0.05)
        return True

    def _raylet(self, name: str) -> psutil.Process | None:
        return next((one for one in self.processes(name) if "raylet/raylet" in _title(one).split(" ")[0]), None)

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Those of one node, or of all: what was started there and lives."""
        return [one for one in psutil.process_iter() if _has(one, _MARK, f"{self.name}.{name and name + '.'}")]

    def working(self) -> psutil.Process:
        """The process in which a node measures a task, as soon as there is one."""
        deadline = time.monotonic() + _LIMIT_S
        while not (found := self.tasks()):
            assert time.monotonic() < deadline, "no node measures"
            time.sleep(0.05)
        return found[0]

    def tasks(self) -> list[psutil.Process]:
        """All such processes now."""
        return [one for one in self.processes() if _title(one).startswith("ray::StageTask")]

    def kill_node(self, name: str) -> None:
        """All of a machine at once, as when its power goes."""
        for one in self.processes(name):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        for process in self._started:
            process.poll()

    def wait_for_program(self, name: str) -> None:
        """Until a task has started one with this in its command line."""
        deadline = time.monotonic() + _LIMIT_S
        while not any(name in _title(one) and _has(one, MARK, "") for one in self.processes()):
            assert time.monotonic() < deadline, f"no {name}"
            time.sleep(0.05)

    def drain(self, name: str) -> None:
        """As a cluster does with a node that it is going to take away."""
        raylet = self._raylet(name)
        assert raylet is not None
        [node_id] = [part.partition("=")[2] for part in raylet.cmdline() if part.startswith("--node_id=")]
        subprocess.run(
            [
                *(str(RAY), "drain-node", f"--address={self.address}", f"--node-id={node_id}"),
                *("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=test"),
            ],
            check=True,
            capture_output=True,
        )

    def left(self) -> tuple[str, ...]:
        """What tasks have started and left on the nodes, a while after the last one: programs and folders."""
        deadline = time.monotonic() + _LIMIT_S
        while True:
            programs = [_title(one) for one in self.processes() if _has(one, MARK, "")]
            folders = [str(path) for path in self.root.glob("*/hcopt-*")]
            if not (programs or folders) or time.monotonic() > deadline:
                return (*programs, *folders)
            time.sleep(0.2)

    def end(self) -> None:
        while found := self.processes():
            for one in found:
                with suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGKILL)
            psutil.wait_procs(found, timeout=5)
        for process in self._started:
            process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def ray_nodes() -> Iterator[RayNodes]:
    """A cluster without any node; whatever is started of it ends with the context."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    # Not in pytest's folder: the path of a socket has 107 characters at most.
    nodes = RayNodes(root=Path(tempfile.mkdtemp(prefix="hr")), port=port)
    try:
        yield nodes
    finally:
        nodes.end()


def _has(process: psutil.Process, variable: str, prefix: str) -> bool:
    try:
        found = process.environ().get(variable)
        return found is not None and found.startswith(prefix)
    except psutil.Error:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""

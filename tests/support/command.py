"""The installed `hcopt` command as a user runs it: in a folder, with nothing of this machine's configuration."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

import psutil

HCOPT = Path(sys.executable).parent / "hcopt"
REPOSITORY = Path(__file__).parents[2]
SAMPLE_MODEL = "HomeCreditDefaultModel"
SAMPLE_FOLDER = REPOSITORY / "model_repository" / SAMPLE_MODEL
# The least that still goes through every stage: the default, one variant, one load, short windows, few blocks.
TINY = (
    "--set=sweep.max_batch_size=[16]",
    "--set=sweep.instance_count=[1]",
    "--set=sweep.intra_op_thread_count=[]",
    "--set=sweep.max_queue_delay_us=[500]",
    "--set=sweep.concurrency=[8]",
    "--set=profiler.measurement_interval_ms=500",
    # A block or two; what blocks become is tested elsewhere, and so are the noise before and what comes after.
    "--set=confirmation.max_minutes=0.05",
    "--set=confirmation.onnxruntime_alone=false",
    "--set=noise.gate=off",
    "--set=capacity.max_minutes=0",
    # Far above what a machine can take that has other work too.
    "--set=constraints.latency_p99_ms=100000",
)
# The other profiler in the place of Model Analyzer, which takes ten seconds to start: where a test is not about it.
ADAPTIVE = ("--profiler=adaptive", "--max-minutes=0.05")
# For a program that ought to end by itself: no test waits for it, but one that hangs has to fail here.
LIMIT_S = 600.0
_ASKING = threading.Lock()
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.support.preloaded"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the command said, and what it left behind: processes, temporary files, shared memory."""

    returncode: int
    stdout: str
    stderr: str
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where somebody works: the folder the command is started in, one for its temporary files, and the command."""

    folder: Path
    temporary: Path
    program: Path
    extra: Mapping[str, str]

    @property
    def results(self) -> Path:
        """Where results go unless the command line says otherwise."""
        return self.folder / "results"

    @property
    def runs(self) -> list[Path]:
        """The runs' folders, oldest first as far as their names tell."""
        runs = self.results / "runs"
        return sorted(runs.iterdir()) if runs.is_dir() else []

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of MLflow's, S3's or hcopt's that this machine has set."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.temporary),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.extra,
        }

    def run(
        self,
        *arguments: str,
        aim: str | None = None,
        number: int = signal.SIGTERM,
        acts: Sequence[tuple[str, Callable[[], object]]] = (),
    ) -> Answer:
        """Runs the command to its end; with the first line of its stderr that contains `aim` it gets a signal.

        Before that each of `acts` is done in turn, when there is a line that contains what stands with it.
        """
        with TemporaryFile("w+", encoding="utf-8") as stdout, self._started(arguments, stdout) as process:
            lines: list[str] = []
            left = [*acts, *([] if aim is None else [(aim, lambda: process.send_signal(number))])]
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                if left and left[0][0] in line:
                    left.pop(0)[1]()
            returncode = process.wait()
            stdout.seek(0)
            left_behind = self.left_by_the_killed() if returncode == -signal.SIGKILL else self.left()
            return Answer(returncode=returncode, stdout=stdout.read(), stderr="".join(lines), left=left_behind)

    def answer(self, *arguments: str) -> Answer:
        """The same, in a process forked from one that has imported hcopt and MLflow: importing takes two seconds.

        For tests of what a command says and writes. How the installed program starts, is interrupted and ends is seen
        with `run` alone.
        """
        with TemporaryDirectory() as folder:
            said = [Path(folder) / name for name in ("stdout", "stderr")]
            process = _FORKS.Process(target=_run_here, args=(self, arguments, *said))
            # A start asks for the ends of all processes; where two threads ask for one, one of them gets 255.
            with _ASKING:
                process.start()
            connection.wait([process.sentinel], LIMIT_S)
            with _ASKING:
                if process.exitcode is None:
                    process.kill()
                process.join()
                returncode = process.exitcode
                process.close()
            stdout, stderr = (file.read_text(encoding="utf-8") for file in said)
        assert returncode is not None
        left = self.left()
        self.end_what_is_left()
        return Answer(returncode=returncode, stdout=stdout, stderr=stderr, left=left)

    @contextmanager
    def _started(self, arguments: Sequence[str], stdout: IO[str]) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            # A shell that started the tests in the background has SIGINT ignored, nohup SIGHUP; children inherit that.
            ["env", "--default-signal=INT,HUP", str(self.program), *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        try:
            with process:
                yield process
        finally:
            watchdog.cancel()
            self.end_what_is_left()

    def left_by_the_killed(self) -> tuple[str, ...]:
        """Nobody can tidy up after a kill at once, and a lock file that nobody holds stays."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            left = tuple(one for one in self.left() if not one.endswith("/hcopt.lock"))
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.05)

    def left(self) -> tuple[str, ...]:
        """Processes, temporary files and shared memory that are there now."""
        processes = list(filter(None, map(_command_line, self._processes())))
        return (*processes, *map(str, self.temporary.iterdir()), *map(str, self._shared_memory()))

    def end_what_is_left(self) -> None:
        """Kills what was started here and lives."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _processes(self) -> list[psutil.Process]:
        """What was started here and lives: children inherit where temporary files go, or have a folder in it."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return Path(process.environ().get("TMPDIR", "/")).is_relative_to(self.temporary)
        except psutil.Error:
            return False

    def _shared_memory(self) -> list[Path]:
        """Triton's regions carry the name of its private folder, which its log tells."""
        logs = self.results.glob("runs/**/logs/tritonserver.log")
        names = {folder.name for log in logs for folder in self._private_folders(log)}
        return [region for name in names for region in Path("/dev/shm").glob(f"{name}*")]

    def _private_folders(self, log: Path) -> Iterator[Path]:
        for word in log.read_text(encoding="utf-8").split():
            if Path(word).parent.parent == self.temporary:
                yield Path(word).parent


def _run_here(place: Workplace, arguments: Sequence[str], stdout: Path, stderr: Path) -> None:
    """What the installed program does, in this process."""
    os.chdir(place.folder)
    environment = place.environment
    os.environ.clear()
    os.environ.update(environment)
    # Whatever was imported may have asked for it.
    tempfile.tempdir = None
    for number, file in enumerate((stdout, stderr), start=1):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = [str(place.program), *arguments]
    from hcopt.cli.app import main

    try:
        main()
    finally:
        # A process of multiprocessing ends without them.
        atexit._run_exitfuncs()


def _command_line(process: psutil.Process) -> str:
    """Nothing where it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def is_driver(process: psutil.Process, folder: Path) -> bool:
    """Whether it is the hcopt that was started in a folder."""
    try:
        return "profile" in process.cmdline() and process.cwd() == str(folder)
    except psutil.Error:
        return False


def workplace(root: Path, *, folder: str = "work", program: Path = HCOPT, **extra: str) -> Workplace:
    """Makes a new one below `root`; `extra` goes into its environment."""
    made = Workplace(folder=root / folder, temporary=root / "tmp", program=program, extra=extra)
    made.folder.mkdir(parents=True)
    made.temporary.mkdir()
    return made

"""Real small programs: whatever ends a call, nothing of the program's process group is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from hcopt.system.process import Finished, end_group, last_lines, run, service

# Long enough for the slowest machine; a test that works never waits for it.
PATIENCE_S = 60.0
IGNORES_SIGTERM = "trap '' TERM; "
SLEEPS = "while :; do sleep 0.05; done"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        # In a container nobody may collect an orphan that has ended.
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Shell:
    """Runs shell scripts with a log; `$PIDS` is a file that they write process ids to."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.pids = folder / "pids"
        self.env = {**os.environ, "PIDS": str(self.pids)}

    def run(
        self, script: str, *, timeout_s: float = PATIENCE_S, on_line: Callable[[str], None] | None = None
    ) -> Finished:
        argv = ["sh", "-c", script]
        return run(argv, log=self.log, timeout_s=timeout_s, env=self.env, on_line=on_line, grace_s=0.2)

    def left(self) -> list[int]:
        """Of the processes that the script noted, those that are not gone after a while."""
        pids = [int(pid) for pid in self.pids.read_text().split()]
        assert pids
        wait_until(lambda: all(map(is_gone, pids)))
        return [pid for pid in pids if not is_gone(pid)]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[str], None]]:
    """Presses Ctrl-C; in a background job of a shell, which ignores it, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda _: signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_run_returns_the_exit_code_and_counts_time(shell: Shell) -> None:
    finished = shell.run("exit 7")
    assert (finished.returncode, finished.timed_out) == (7, False)
    assert 0 < finished.elapsed_s < PATIENCE_S


def test_run_tells_which_signal_ended_the_program(shell: Shell) -> None:
    assert shell.run("kill -9 $$").returncode == -signal.SIGKILL


def test_output_and_errors_go_to_log_and_lines(shell: Shell) -> None:
    lines: list[str] = []
    shell.run("echo one; echo two >&2; printf '\\303\\244\\377\\n'", on_line=lines.append)
    assert lines == ["one", "two", "ä\N{REPLACEMENT CHARACTER}"]
    assert shell.log.read_bytes() == b"one\ntwo\n\xc3\xa4\xff\n"


def test_log_grows_with_each_run(shell: Shell) -> None:
    shell.run("echo one")
    shell.run("echo two")
    assert shell.log.read_text() == "one\ntwo\n"


def test_last_line_without_newline_is_handed_over(shell: Shell) -> None:
    lines: list[str] = []
    shell.run("printf 'one\\ntwo'", on_line=lines.append)
    assert lines == ["one", "two"]


def test_carriage_return_ends_a_line(shell: Shell) -> None:
    lines: list[str] = []
    shell.run("printf '1 %%\\r2 %%\\rdone\\n'", on_line=lines.append)
    assert lines == ["1 %", "2 %", "done"]


def test_line_longer_than_the_pipe_arrives_in_one_piece(shell: Shell) -> None:
    lines: list[str] = []
    script = "import sys; sys.stdout.write('x' * 1_000_000 + '\\nend')"
    run([sys.executable, "-c", script], log=shell.log, timeout_s=PATIENCE_S, env=shell.env, on_line=lines.append)
    assert [len(line) for line in lines] == [1_000_000, 3]


def test_standard_input_is_empty(shell: Shell) -> None:
    assert shell.run("cat").returncode == 0


def test_only_the_given_environment_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCOPT_TEST_SECRET", "1")
    log = tmp_path / "log"
    run(["/bin/sh", "-c", "echo ${HCOPT_TEST_SECRET:-unset}"], log=log, timeout_s=PATIENCE_S, env={})
    assert log.read_text() == "unset\n"


def test_program_runs_in_the_given_folder(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(["/bin/pwd"], log=log, timeout_s=PATIENCE_S, env={}, cwd=tmp_path)
    assert log.read_text().strip() == str(tmp_path.resolve())


def test_cpu_time_of_the_program_is_counted(shell: Shell) -> None:
    # Spins until it has used 0.2 s of CPU time, however long that takes.
    script = "import time\nwhile time.process_time() < 0.2: pass"
    finished = run([sys.executable, "-c", script], log=shell.log, timeout_s=PATIENCE_S, env=shell.env)
    assert finished.cpu_s is not None
    assert finished.cpu_s >= 0.2
    assert finished.cpu_s <= finished.elapsed_s + 0.1  # one thread, and the clock of CPU time is coarse


def test_missing_program_is_an_os_error(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run([str(tmp_path / "nothing")], log=shell.log, timeout_s=1, env={})


def test_time_limit_ends_the_program(shell: Shell) -> None:
    finished = shell.run(f"echo $$ >$PIDS; {SLEEPS}", timeout_s=0.5)
    assert (finished.timed_out, finished.returncode) == (True, None)
    assert shell.left() == []


def test_time_limit_ends_a_program_that_has_closed_its_output(shell: Shell) -> None:
    finished = shell.run(f"echo $$ >$PIDS; exec >&- 2>&-; {SLEEPS}", timeout_s=0.5)
    assert finished.timed_out
    assert shell.left() == []


def test_time_limit_ends_grandchildren_that_ignore_sigterm(shell: Shell) -> None:
    script = f"{IGNORES_SIGTERM} echo $$ >$PIDS; ({SLEEPS}) & echo $! >>$PIDS; {SLEEPS}"
    assert shell.run(script, timeout_s=0.5).timed_out
    assert len(shell.pids.read_text().split()) == 2
    assert shell.left() == []


def test_program_that_ended_is_not_held_up_by_a_silent_grandchild(shell: Shell) -> None:
    finished = shell.run(f"({SLEEPS}) & echo $! >$PIDS; exit 3")
    assert finished.returncode == 3
    assert shell.left() == []


def test_program_that_ended_is_not_held_up_by_a_grandchild_that_goes_on_writing(shell: Shell) -> None:
    lines: list[str] = []
    script = "(while :; do echo noise; done) & echo $! >$PIDS; exit 3"
    assert shell.run(script, on_line=lines.append).returncode == 3
    assert shell.left() == []


def test_exception_in_on_line_ends_the_group_and_comes_through(shell: Shell) -> None:
    def refuse(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="ready"):
        shell.run(f"echo $$ >$PIDS; ({SLEEPS}) & echo $! >>$PIDS; echo ready; {SLEEPS}", on_line=refuse)
    assert shell.left() == []


def test_ctrl_c_ends_the_group_and_comes_through(shell: Shell, ctrl_c: Callable[[str], None]) -> None:
    with pytest.raises(KeyboardInterrupt):
        shell.run(f"echo $$ >$PIDS; ({SLEEPS}) & echo $! >>$PIDS; echo ready; {SLEEPS}", on_line=ctrl_c)
    assert shell.left() == []


def test_second_ctrl_c_while_the_program_takes_its_time_leaves_nothing(
    shell: Shell, ctrl_c: Callable[[str], None]
) -> None:
    # Asked to end, the program presses Ctrl-C once more and does not end.
    script = f"trap 'kill -INT {os.getpid()}' TERM; echo $$ >$PIDS; echo ready; {SLEEPS}"
    with pytest.raises(KeyboardInterrupt):
        run(
            ["sh", "-c", script],
            log=shell.log,
            timeout_s=PATIENCE_S,
            env=shell.env,
            on_line=ctrl_c,
            grace_s=PATIENCE_S,
        )
    assert shell.left() == []


def test_service_runs_for_as_long_as_the_context(shell: Shell) -> None:
    with service(["sh", "-c", f"echo $$ >$PIDS; echo up; {SLEEPS}"], log=shell.log, env=shell.env, grace_s=0.2) as it:
        wait_until(lambda: shell.log.read_text() == "up\n")
        assert it.poll() is None
    assert shell.left() == []


def test_service_lets_the_program_tidy_up(shell: Shell) -> None:
    argv = ["sh", "-c", f"trap 'echo tidied; exit 0' TERM; echo up; {SLEEPS}"]
    with service(argv, log=shell.log, env=shell.env, grace_s=PATIENCE_S):
        wait_until(lambda: shell.log.read_text() == "up\n")
    assert "tidied" in shell.log.read_text().splitlines()  # a shell may also tell that its sleep was ended


def test_service_ends_on_an_exception_with_grandchildren_that_ignore_sigterm(shell: Shell) -> None:
    script = f"{IGNORES_SIGTERM} ({SLEEPS}) & echo $! $$ >$PIDS; echo up; {SLEEPS}"
    with (
        pytest.raises(ValueError, match="mine"),
        service(["sh", "-c", script], log=shell.log, env=shell.env, grace_s=0.2),
    ):
        wait_until(lambda: shell.log.read_text() == "up\n")
        raise ValueError("mine")
    assert shell.left() == []


def test_end_group_ends_children_that_outlived_their_leader(shell: Shell) -> None:
    argv = ["sh", "-c", f"({SLEEPS}) & echo $! >$PIDS; echo up"]
    with service(argv, log=shell.log, env=shell.env, grace_s=0.2) as leader:
        leader.wait(PATIENCE_S)
        assert not is_gone(int(shell.pids.read_text()))
        end_group(leader)
        assert shell.left() == []


# --- where this process is killed ------------------------------------------------------------------------------------

# Starts a service that starts others, one of them with a session of its own as Model Analyzer does, and waits for the
# end of the world.
PARENT = """
import os, signal, sys, threading
from pathlib import Path
from hcopt.system.process import removed_at_death, run, service
log, pids, script = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
env = {**os.environ, "PIDS": pids}
with removed_at_death(log.parent / "left [1]" / "gone"), removed_at_death(log.parent / "region_*"):
    with service(["sh", "-c", script], log=log, env=env):
        run(["true"], log=log, timeout_s=60, env=env)
        print("up", flush=True)
        sys.stdin.read()
"""
SESSIONS = (
    f"{IGNORES_SIGTERM} echo $$ >>$PIDS; ({SLEEPS}) & echo $! >>$PIDS; setsid sh -c 'echo $$ >>$PIDS; {SLEEPS}' & "
)


@pytest.fixture
def parent(shell: Shell) -> Iterator[subprocess.Popen[bytes]]:
    folder = shell.log.parent
    (folder / "left [1]" / "gone").mkdir(parents=True)
    for name in ("region_1", "region_2", "other"):
        (folder / name).touch()
    script = f"{SESSIONS} {SLEEPS}"
    argv = [sys.executable, "-c", PARENT, str(shell.log), str(shell.pids), script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        wait_until(lambda: shell.pids.exists() and len(shell.pids.read_text().split()) == 3)
        yield process
        process.kill()


def watchdogs(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if any("watchdog" in word for word in child.cmdline())]


def test_kill_of_this_process_takes_along_all_it_started_and_their_files(
    shell: Shell, parent: subprocess.Popen[bytes]
) -> None:
    (dog,) = watchdogs(parent.pid)
    parent.kill()
    assert shell.left() == []
    wait_until(lambda: is_gone(dog.pid))
    assert sorted(path.name for path in shell.log.parent.iterdir()) == ["left [1]", "log", "other", "pids"]
    assert list((shell.log.parent / "left [1]").iterdir()) == []


def test_watchdog_takes_no_notice_of_signals_to_a_whole_session(shell: Shell, parent: subprocess.Popen[bytes]) -> None:
    (dog,) = watchdogs(parent.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        dog.send_signal(number)
    parent.kill()
    assert shell.left() == []


def test_watchdog_that_was_killed_is_replaced_by_one_that_knows_everything(tmp_path: Path) -> None:
    log, pids = tmp_path / "log", tmp_path / "pids"
    script = (
        "import os, signal, sys; from pathlib import Path; import psutil\n"
        "from hcopt.system.process import run, service\n"
        "log = Path(sys.argv[1])\n"
        "with service(['sh', '-c', sys.argv[2]], log=log, env={'PIDS': sys.argv[3]}):\n"
        "    [dog] = [c for c in psutil.Process().children() if any('watchdog' in word for word in c.cmdline())]\n"
        "    dog.kill()\n"
        "    dog.wait()\n"
        "    run(['true'], log=log, timeout_s=60, env={})\n"
        "    while len(Path(sys.argv[3]).read_text().split()) < 1: pass\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    pids.touch()
    service_script = f"echo $$ >>$PIDS; {SLEEPS}"
    done = subprocess.run([sys.executable, "-c", script, log, service_script, pids], check=False, timeout=PATIENCE_S)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: is_gone(int(pids.read_text())))


def test_this_process_ends_with_its_watchdog(shell: Shell, parent: subprocess.Popen[bytes]) -> None:
    (dog,) = watchdogs(parent.pid)
    parent.communicate()
    assert parent.returncode == 0
    assert not dog.is_running()
    assert shell.left() == []


def test_hung_program_is_ended_with_what_it_started_in_sessions_of_their_own(shell: Shell) -> None:
    assert shell.run(f"{SESSIONS} {SLEEPS}", timeout_s=1.0).timed_out
    assert len(shell.pids.read_text().split()) == 3
    assert shell.left() == []


def test_one_watchdog_serves_all_threads_and_programs(shell: Shell) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert all(done.returncode == 0 for done in pool.map(lambda _: shell.run("exit 0"), range(24)))
    assert len(watchdogs(os.getpid())) == 1


def test_last_lines_of_a_huge_file_are_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\xff" * 200_000 + b"\n" + b"\n".join(b"line %d" % number for number in range(100)))
    assert last_lines(log, 2) == "line 98\nline 99"
    assert len(last_lines(log).splitlines()) == 15


def test_last_lines_of_one_endless_line_are_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 1_000_000)
    assert len(last_lines(log)) == 65536


def test_last_lines_of_an_empty_or_missing_file_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert last_lines(tmp_path / "empty") == last_lines(tmp_path / "missing") == ""

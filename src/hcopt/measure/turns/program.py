"""Several perf_analyzer processes on one server, of which one at a time runs: the others are stopped.

A process that needs no server and behaves as they do may be among them.

Runs where perf_analyzer is, with the Python of that place (3.8 or newer), and so imports nothing but its library:

    python3 turns.py PLAN

For a turn a side's variant may be loaded afresh, its perf_analyzer goes on (SIGCONT) for some seconds and is stopped
again (SIGSTOP). Each turn that has ended is a line of JSON. At the end all are interrupted, upon which each writes its
export at the end of its measurement interval, and not before: so the interval is made to end with the last turn, and
turns are cut where the machine is late. `PLAN` is a JSON file:

    http      host:port of the server
    limit_s   for any answer of the server, and for the first answered request of a side
    warm_s    how long a side's load lasts before its first stop
    sides     of each its `name` on the server, `config` (JSON text) to load it with and `command` of perf_analyzer, in
              which INTERVAL_MS stands for the interval. One that needs no server has `ready` in place of name and
              config: a file that is there once it has answered
    turns     [side, seconds, whether it begins with a load] each

It ends with 0, or, where anything goes wrong, with 1 and what that was on stderr; nothing that it started outlives it.
"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_POLL_S = 0.005
# What starts a side, and what lies between two turns, as a quiet machine has it.
_START_S, BETWEEN_S = 0.4, 0.02
# perf_analyzer sleeps so many intervals, from the moment that it is ready, which takes it some time.
_OVERRUN_RATIO, _READY_S = 1.2, 0.1
_MIN_TURN_RATIO = 0.3
# Of a side that needs no server.
_NOTHING_COUNTED = {"inference_stats": {"success": {"count": 0}}}


class _Server:
    def __init__(self, address: str, limit_s: float) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=limit_s)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer as JSON; a body makes it a POST."""
        method, text = ("GET", None) if body is None else ("POST", json.dumps(body))
        self._connection.request(method, path, body=text)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {content.decode(errors='replace')}")
        return json.loads(content) if content else {}

    def load(self, side: dict[str, Any]) -> None:
        """Loads a side's variant; one that is there is unloaded first, which is quicker than a change of instances."""
        if "ready" in side:
            return
        path = f"/v2/repository/models/{side['name']}/"
        self.ask(path + "unload", {})
        self.ask(path + "load", {"parameters": {"config": side["config"]}})

    def counters(self, side: dict[str, Any]) -> dict[str, Any]:
        """What Triton has counted of a side's model since it was loaded."""
        if "ready" in side:
            return _NOTHING_COUNTED
        answer: dict[str, Any] = self.ask(f"/v2/models/{side['name']}/stats")["model_stats"][0]
        return answer


def _called(side: dict[str, Any]) -> str:
    return f"perf_analyzer of {side['name']}" if "name" in side else "a side without a server"


def _answered(counters: dict[str, Any]) -> int:
    return int(counters["inference_stats"]["success"]["count"])


def _has_answered(server: _Server, side: dict[str, Any]) -> bool:
    return Path(side["ready"]).exists() if "ready" in side else _answered(server.counters(side)) > 0


def _started(server: _Server, side: dict[str, Any], plan: dict[str, Any], ends: float) -> subprocess.Popen[bytes]:
    """A side's process, under load for a moment and then stopped; a perf_analyzer measures until `ends`."""
    server.load(side)
    interval_ms = str(int(1000 * (ends - time.monotonic() - _READY_S) / _OVERRUN_RATIO))
    command = [interval_ms if argument == "INTERVAL_MS" else argument for argument in side["command"]]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + plan["limit_s"]
    while not _has_answered(server, side):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise SystemExit(f"{_called(side)} sends nothing: {process.wait()}")
        time.sleep(_POLL_S)
    time.sleep(plan["warm_s"])
    process.send_signal(signal.SIGSTOP)
    _settled(server, side)
    return process


def _settled(server: _Server, side: dict[str, Any]) -> dict[str, Any]:
    """The counters as soon as what was under way is answered, that is, as they grow no more."""
    before, now = -1, server.counters(side)
    while before != _answered(now):
        before = _answered(now)
        time.sleep(_POLL_S)
        now = server.counters(side)
    return now


def _take_turn(
    server: _Server, side: dict[str, Any], process: subprocess.Popen[bytes], seconds: float
) -> dict[str, Any]:
    """When it was, in ns of the system's clock, and what the server had counted before and after it."""
    before = server.counters(side)
    began_ns = time.time_ns()
    process.send_signal(signal.SIGCONT)
    time.sleep(seconds)
    ended_ns = time.time_ns()
    process.send_signal(signal.SIGSTOP)
    if process.poll() is not None:
        raise SystemExit(f"{_called(side)} has ended with {process.returncode}")
    return {"began_ns": began_ns, "ended_ns": ended_ns, "before": before, "after": _settled(server, side)}


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        # Pending until it goes on, so that it ends before it sends much more.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"the sides ended with {codes}")


def main(path: Path) -> None:
    """Takes all turns of a plan."""
    plan = json.loads(path.read_text(encoding="utf-8"))
    server = _Server(plan["http"], plan["limit_s"])
    processes: dict[int, subprocess.Popen[bytes]] = {}
    left_s = sum(seconds + BETWEEN_S for _, seconds, _ in plan["turns"])
    ends, sides = 0.0, list(enumerate(plan["sides"]))
    try:
        # First what has no interval that begins now: it may take its time.
        for index, side in sorted(sides, key=lambda one: "ready" not in one[1]):
            if "ready" not in side and not ends:
                waits = len(sides) - len(processes)
                ends = time.monotonic() + waits * (_START_S + plan["warm_s"]) + left_s
            processes[index] = _started(server, side, plan, ends)
        for number, (index, seconds, loads) in enumerate(plan["turns"]):
            ratio = min(1.0, (ends - time.monotonic()) / left_s)
            if ratio < _MIN_TURN_RATIO:
                raise SystemExit("the machine is too slow for the turns")
            if loads:
                server.load(plan["sides"][index])
            turn = _take_turn(server, plan["sides"][index], processes[index], seconds * ratio)
            left_s -= seconds + BETWEEN_S
            sys.stdout.write(json.dumps({"turn": number, **turn}) + "\n")
            sys.stdout.flush()
        _end(list(processes.values()))
    finally:
        # A stopped process ends by nothing else.
        for process in processes.values():
            process.kill()
            process.wait()


if __name__ == "__main__":
    # By SIGTERM as by an exception, so that nothing is left.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    main(Path(sys.argv[1]))

"""How many threads an instance gets where config.pbtxt leaves that to ONNX Runtime: counted, since it goes by the
machine's physical cores as it finds them, whatever CPU set or quota the server has.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hcopt.system import process
from hcopt.system.environ import environment_variables
from hcopt.system.redaction import without_secrets
from hcopt.triton.embedded.probe import identity_model

_TIMEOUT_S = 30.0
# The thread that asks is one of the pool's. The first session may start what all have in common.
_COUNT = """
import os, sys, onnxruntime

def session():
    return onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])

sessions = [session()]
before = len(os.listdir("/proc/self/task"))
sessions.append(session())
print("threads", 1 + len(os.listdir("/proc/self/task")) - before)
"""


def chosen_thread_count(folder: Path) -> int | None:
    """Threads of an instance of a server with this process's CPUs, asked of the same ONNX Runtime in a new process.

    Args:
        folder: A private folder, for its files.

    Returns:
        At least 1; None where ONNX Runtime does not answer.
    """
    model, said = folder / "identity.onnx", list[str]()
    argv = [sys.executable, "-c", _COUNT, str(model)]
    try:
        model.write_bytes(identity_model())
        process.run(
            argv,
            log=folder / "threads.log",
            timeout_s=_TIMEOUT_S,
            env=without_secrets(environment_variables()),
            cwd=folder,
            on_line=said.append,
        )
    except OSError:
        return None
    return next((int(line.split()[1]) for line in said if line.startswith("threads ")), None)

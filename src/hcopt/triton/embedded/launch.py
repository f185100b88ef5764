"""How tritonserver is started here: command line, environment, and whether it listens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

from hcopt.system.environ import environment_variables
from hcopt.system.redaction import without_secrets
from hcopt.system.topology import Core
from hcopt.triton.embedded.backends import EmbeddedBackend
from hcopt.triton.ports import HOST, Ports
from hcopt.triton.programs import TritonFiles
from hcopt.triton.supervised import server_options

# Triton's farewell takes 2.3 s with a model loaded. A kill would be quicker, but leaves /tmp/python_env_… behind, whose
# name nobody can know. While a client holds a connection, Triton waits for it as long as its own limit allows.
_EXIT_TIMEOUT_S = 5
# What model.cc and model.py read.
_CORES = "HCOPT_SERVER_CORES"


def server_command(folder: Path, triton: TritonFiles, backend: EmbeddedBackend, ports: Ports) -> list[str]:
    """The command line of a tritonserver whose repository and backends lie in a folder."""
    return [
        str(triton.tritonserver),
        *server_options(str(folder / "repository"), ports),
        f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
        f"--backend-directory={folder / 'backends'}",
        *backend.options(folder),
        *(f"--{service}-address={HOST}" for service in ("http", "grpc", "metrics")),
    ]


def server_environment(folder: Path, backend: EmbeddedBackend, cores: Iterable[Core]) -> dict[str, str]:
    """Its environment: what the backend needs, and nothing secret.

    Where the server is bound to some cores hcopt's backends have ONNX Runtime go by these. By itself it takes a thread
    for each core of the machine, and pins it there, whatever CPUs the process was given.
    """
    inherited = environment_variables()
    # Numbered from 1, as `session.intra_op_thread_affinities` has them.
    numbers = ";".join(",".join(str(cpu + 1) for cpu in sorted(core.cpus)) for core in cores)
    return {
        **without_secrets(inherited),
        **backend.environment(folder, inherited),
        **({_CORES: numbers} if numbers else {}),
    }


def listens(pid: int, ports: Ports) -> bool:
    """Whether the process listens on all of the ports."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    listening = {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}
    return {ports.http, ports.grpc, ports.metrics} <= listening

"""How tritonserver is started here: backends, command line, environment, and whether it listens."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import psutil

from hcopt.system.environ import environment_variables
from hcopt.system.redaction import without_secrets
from hcopt.triton.local_tools import first_on_path
from hcopt.triton.ports import HOST, Ports
from hcopt.triton.programs import TritonFiles, find_libpython
from hcopt.triton.supervised import server_options

# Triton's farewell takes 2.3 s with a model loaded. A kill would be quicker, but leaves /tmp/python_env_… behind, whose
# name nobody can know. While a client holds a connection, Triton waits for it as long as its own limit allows.
_EXIT_TIMEOUT_S = 5


def install_backends(folder: Path, triton: TritonFiles) -> None:
    """The backend directory: the Python backend with the stub of this Python, and ours. Triton refuses links here."""
    python, onnxruntime, libraries = (folder / name for name in ("backends/python", "backends/onnxruntime", "lib"))
    onnxruntime.mkdir(parents=True)
    libraries.mkdir()
    shutil.copytree(triton.backend_folder, python)
    stub = python / triton.stub.name
    shutil.copyfile(triton.stub, stub)
    stub.chmod(0o700)
    ours = resources.files("hcopt.triton").joinpath("onnxruntime_backend/model.py")
    (onnxruntime / "model.py").write_bytes(ours.read_bytes())
    libpython = find_libpython()
    (libraries / libpython.name).symlink_to(libpython)


def server_command(folder: Path, triton: TritonFiles, ports: Ports) -> list[str]:
    """The command line of a tritonserver whose repository and backends lie in a folder."""
    return [
        str(triton.tritonserver),
        *server_options(str(folder / "repository"), ports),
        f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
        f"--backend-directory={folder / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={folder.name}_",
        *(f"--{service}-address={HOST}" for service in ("http", "grpc", "metrics")),
    ]


def server_environment(folder: Path, triton: TritonFiles) -> dict[str, str]:
    """Its environment: libraries and modules of the wheel, and nothing secret."""
    inherited = environment_variables()
    libraries = (str(triton.libraries), str(folder / "lib"), inherited.get("LD_LIBRARY_PATH"))
    modules = (str(folder / "backends" / "onnxruntime"), inherited.get("PYTHONPATH"))
    environment = {
        **without_secrets(inherited),
        # The stub takes its packages from the `python3` that is first on the path.
        "PATH": first_on_path(inherited),
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
        # In front, or any other module called `model` would be taken for the backend.
        "PYTHONPATH": ":".join(filter(None, modules)),
        # Each load is a new Python: where it finds no compiled modules, it takes 0.5 s instead of 0.1 s.
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def listens(pid: int, ports: Ports) -> bool:
    """Whether the process listens on all of the ports."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    listening = {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}
    return {ports.http, ports.grpc, ports.metrics} <= listening

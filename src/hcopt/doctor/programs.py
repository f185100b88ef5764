"""Probes of programs: Triton and the measuring tools of this environment, and what makes Model Analyzer's PDF."""

from __future__ import annotations

import re
import shutil

from hcopt.doctor.findings import Finding, fail, fault, ok, warn
from hcopt.errors import RuntimeStartError
from hcopt.system import process
from hcopt.system.environ import environment_variables
from hcopt.triton.embedded.backends import NativeBackendError, find_native_backend, find_python_backend
from hcopt.triton.local_tools import install_tools, private_folder, tools_environment
from hcopt.triton.openvino import PLUGIN, check_openvino
from hcopt.triton.programs import REINSTALL, find_program, find_triton, installed_version

_START_LIMIT_S = 20.0
_SET_UP_AGAIN = "In a checkout: rm .venv/.installed-*, then ./run_analyzer.sh, which says why it cannot be built."


def look_at_triton() -> Finding:
    """The embedded Triton, and what it serves ONNX models with."""
    triton = find_triton()
    said = f"of nvidia-pytriton {installed_version('nvidia-pytriton')}"
    try:
        find_native_backend()
    except NativeBackendError as error:
        # Raises where a part of it is missing too.
        find_python_backend(triton)
        return warn(f"{said}; without hcopt's native backend: {error.message}", f"{REINSTALL}. {_SET_UP_AGAIN}")
    return ok(f"{said}, with hcopt's native backend over ONNX Runtime {installed_version('onnxruntime')}")


def look_at_openvino(*, needed: bool) -> Finding:
    """OpenVINO beside the embedded Triton's ONNX Runtime, which only a sweep that names it needs."""
    try:
        check_openvino()
    except RuntimeStartError as error:
        if not needed:
            return ok(f"{error.message}; sweep.execution_accelerator would need it")
        return fault(error)
    return ok(f"of {PLUGIN} {installed_version(PLUGIN)}")


def look_at_perf_analyzer() -> Finding:
    """perf_analyzer, started as a run starts it."""
    with private_folder() as folder:
        program = install_tools(folder)["perf_analyzer"]
        log = folder / "perf_analyzer.log"
        try:
            finished = process.run(
                [str(program), "--version"],
                log=log,
                timeout_s=_START_LIMIT_S,
                env=tools_environment(environment_variables()),
            )
        except OSError as error:
            raise RuntimeStartError(f"cannot start {program}: {error}") from error
        said = process.last_lines(log, 3)
    if finished.returncode != 0:
        return fail(
            f"perf_analyzer ended with {finished.returncode}: {said}",
            REINSTALL,
        )
    version = re.search(r"[0-9]+\.[0-9]+\.[0-9]+", said)
    return ok(version.group() if version else said)


def look_at_model_analyzer() -> Finding:
    """Model Analyzer."""
    find_program("triton-model-analyzer", "model-analyzer")
    return ok(str(installed_version("triton-model-analyzer")))


def look_at_wkhtmltopdf() -> Finding:
    """What Model Analyzer needs for a PDF of its own; hcopt's does without."""
    program = shutil.which("wkhtmltopdf")
    if program is None:
        return warn(
            "not installed: Model Analyzer's own report comes as HTML only",
            "apt-get install wkhtmltopdf (Debian, Ubuntu)",
        )
    return ok(program)

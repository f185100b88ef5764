"""OpenVINO for the embedded Triton: whether its plugin is installed and takes the CPU, and what to do where not."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from hcopt.errors import RuntimeStartError
from hcopt.system import process
from hcopt.system.environ import environment_variables
from hcopt.system.redaction import without_secrets
from hcopt.triton.local_tools import private_folder

PLUGIN = "onnxruntime-ep-openvino"
_MODULE = "onnxruntime_ep_openvino"
_INSTALL = f"Install it: {sys.executable} -m pip install {PLUGIN}"
_TIMEOUT_S = 20.0
# In a process of its own, since what the plugin starts stays.
_ASK = f"""
import onnxruntime, {_MODULE} as plugin

onnxruntime.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
names = [(one.ep_name, one.device.type.name) for one in onnxruntime.get_ep_devices()]
print("found", (plugin.get_ep_name(), "CPU") in names)
"""


def how_to_have_openvino(runtime: str) -> str:
    """The remedy where a server does not serve with OpenVINO.

    Args:
        runtime: As `Environment.runtime`.
    """
    if runtime != "embedded":
        return "Leave openvino out of sweep.execution_accelerator, or measure with --runtime embedded."
    if find_spec(_MODULE) is None:
        return _INSTALL
    return "Leave openvino out of sweep.execution_accelerator."


def check_openvino() -> None:
    """Does nothing where the plugin is installed, and takes this machine's CPU.

    Raises:
        RuntimeStartError: It is not, or does not.
    """
    if find_spec(_MODULE) is None:
        raise RuntimeStartError(f"{PLUGIN} is not installed", remedy=_INSTALL)
    said = list[str]()
    with private_folder() as folder:
        log, environment = folder / "openvino.log", without_secrets(environment_variables())
        process.run(
            [sys.executable, "-c", _ASK],
            log=log,
            timeout_s=_TIMEOUT_S,
            env=environment,
            cwd=folder,
            on_line=said.append,
        )
        last = process.last_lines(log, 1)
    if "found True" in said:
        return
    why = "finds no CPU that it can use: it takes those of Intel" if "found False" in said else f"does not load: {last}"
    raise RuntimeStartError(f"{PLUGIN} {why}", remedy="Measure without openvino here.")

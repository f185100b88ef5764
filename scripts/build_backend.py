"""Compiles the native onnxruntime backend: its sources, the flags, and the command, for the build hook, CI and tests.

It imports the standard library alone, as scripts/build_hook.py uses it before anything is there.
`python scripts/build_backend.py [--zig | --compiler "COMMAND"] [OUTPUT]` does the same by hand.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "src" / "hcopt" / "triton" / "onnxruntime_backend"
LIBRARY = FOLDER / "libtriton_onnxruntime.so"
SOURCES = tuple(FOLDER / name for name in ("backend.cc", "instance.cc", "json.cc", "model.cc", "runtime.cc"))
# The oldest that the library may meet: that of the tag, and older than any that Triton runs on.
GLIBC = (2, 28)
WHEEL_TAG = "py3-none-manylinux_{}_{}_x86_64".format(*GLIBC)
STANDARD = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
# Nothing of the C++ library may be taken for that of the server or of ONNX Runtime.
EXPORTS = FOLDER / "exports.map"


def command(output: Path, compiler: Sequence[str] = ("g++",), flags: Sequence[str] = ("-O2",)) -> list[str]:
    """The command that makes the library `output`; Triton's functions stay open, since its process has them."""
    linking = ("-shared", f"-Wl,--version-script={EXPORTS}", "-ldl", "-lpthread")
    return [*compiler, *STANDARD, *flags, *map(str, SOURCES), "-o", str(output), *linking]


def zig() -> tuple[str, ...]:
    """The compiler of PyPI's ziglang. It brings its own C++ library and every glibc; it needs nothing of the machine.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    package = find_spec("ziglang")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("ziglang, which compiles hcopt's Triton backend, is not installed")
    return (str(Path(package.origin).with_name("zig")), "c++", "-target", "x86_64-linux-gnu.{}.{}".format(*GLIBC), "-s")


def environment() -> dict[str, str]:
    """The environment of a compiler. Zig keeps its C++ library, a minute's work, where other builds find it again."""
    user = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = str(Path(user) / "hcopt" / "zig")
    return {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, **os.environ}


def build(output: Path = LIBRARY, compiler: Sequence[str] = ("g++",), flags: Sequence[str] = ("-O2",)) -> Path:
    """Compiles the library.

    Raises:
        OSError: There is no such compiler.
        subprocess.CalledProcessError: It failed; its words have gone to stderr.
    """
    subprocess.run(command(output, compiler, flags), env=environment(), check=True)
    return output


def main() -> None:
    """Builds it where the package looks for it, or elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=LIBRARY)
    compiler = parser.add_mutually_exclusive_group()
    compiler.add_argument("--compiler", type=shlex.split, default=["g++"], help="with its own options, in one argument")
    compiler.add_argument("--zig", action="store_true", help="PyPI's ziglang, as for the wheel")
    arguments = parser.parse_args()
    print(build(arguments.output, zig() if arguments.zig else arguments.compiler))


if __name__ == "__main__":
    main()

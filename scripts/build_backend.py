"""Compiles the native onnxruntime backend: its sources, the flags, and the command, for the build hook, CI and tests.

It imports nothing of hcopt and nothing but the standard library, so that a build hook can use it before anything is there.
`python scripts/build_backend.py [--compiler "COMMAND"] [OUTPUT]` does the same by hand.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "src" / "hcopt" / "triton" / "onnxruntime_backend"
LIBRARY = FOLDER / "libtriton_onnxruntime.so"
SOURCES = tuple(FOLDER / name for name in ("backend.cc", "instance.cc", "json.cc", "model.cc", "runtime.cc"))
# From PyPI's ziglang, which brings its own C++ library and links against any glibc.
ZIG = ("python-zig", "c++", "-target", "x86_64-linux-gnu.2.28", "-s")
STANDARD = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-warning-option")
# Nothing of the C++ library may be taken for that of the server or of ONNX Runtime.
EXPORTS = FOLDER / "exports.map"


def command(output: Path, compiler: Sequence[str] = ("g++",), flags: Sequence[str] = ("-O2",)) -> list[str]:
    """The command that makes the library `output`; Triton's functions stay open, since its process has them."""
    linking = ("-shared", f"-Wl,--version-script={EXPORTS}", "-ldl", "-lpthread")
    return [*compiler, *STANDARD, *flags, *map(str, SOURCES), "-o", str(output), *linking]


def build(output: Path = LIBRARY, compiler: Sequence[str] = ("g++",), flags: Sequence[str] = ("-O2",)) -> Path:
    """Compiles the library.

    Raises:
        OSError: There is no such compiler.
        subprocess.CalledProcessError: It failed; its words have gone to stderr.
    """
    subprocess.run(command(output, compiler, flags), check=True)
    return output


def main() -> None:
    """Builds it where the package looks for it, or elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=LIBRARY)
    parser.add_argument("--compiler", type=shlex.split, default=["g++"], help="with its own options, in one argument")
    arguments = parser.parse_args()
    print(build(arguments.output, arguments.compiler))


if __name__ == "__main__":
    main()

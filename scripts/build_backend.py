"""Compiles the native onnxruntime backend: its sources, the flags, and the command, for the build hook, CI and tests.

It imports the standard library alone, as scripts/build_hook.py uses it before anything is there.
`python scripts/build_backend.py [--wheel | --compiler "COMMAND"] [OUTPUT]` does the same by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).resolve().parents[1] / "src" / "hcopt" / "triton" / "onnxruntime_backend"
LIBRARY = FOLDER / "libtriton_onnxruntime.so"
SOURCES = tuple(FOLDER / name for name in ("backend.cc", "instance.cc", "json.cc", "model.cc", "runtime.cc"))
ZIGLANG = "0.17.1"
# The oldest that the library may meet: that of the tag, and older than any that Triton runs on.
GLIBC = (2, 28)
WHEEL_TAG = "py3-none-manylinux_{}_{}_x86_64".format(*GLIBC)
STANDARD = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
# Nothing of the C++ library may be taken for that of the server or of ONNX Runtime.
EXPORTS = FOLDER / "exports.map"


def command(output: Path, compiler: Sequence[str] = ("g++",), flags: Sequence[str] = ("-O2",)) -> list[str]:
    """The command that makes the library `output`; Triton's functions stay open, since its process has them."""
    # Not -Wl, whose options end at a comma of the path.
    linking = ("-shared", "-Xlinker", f"--version-script={EXPORTS}", "-ldl", "-lpthread")
    # What __FILE__ says: not where it was built.
    paths = f"-ffile-prefix-map={FOLDER}/="
    return [*compiler, *STANDARD, *flags, paths, *map(str, SOURCES), "-o", str(output), *linking]


def zig() -> tuple[str, ...]:
    """The compiler of PyPI's ziglang. It brings its own C++ library and every glibc; it needs nothing of the machine.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    package = find_spec("ziglang")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"ziglang {ZIGLANG}, which compiles hcopt's Triton backend, is not installed")
    return (str(Path(package.origin).with_name("zig")), "c++", "-target", "x86_64-linux-gnu.{}.{}".format(*GLIBC), "-s")


def build(output: Path = LIBRARY, compiler: Sequence[str] = ("g++",), flags: Sequence[str] = ("-O2",)) -> Path:
    """Compiles the library.

    Raises:
        OSError: There is no such compiler.
        subprocess.CalledProcessError: It failed; its words have gone to stderr.
    """
    subprocess.run(command(output, compiler, flags), check=True)
    return output


def put_in_place(output: Path = LIBRARY) -> Path:
    """The library as the wheel has it: once compiled from these sources, it stays, and comes from the user's cache.

    Zig's own cache is there too. It saves most of the work, the C++ library, but only while Zig's files are the same
    ones on disk, as with uv; pip makes new ones each time.

    Raises:
        ModuleNotFoundError: It has to be compiled, and ziglang is not installed.
        OSError: No room.
        subprocess.CalledProcessError: It cannot be compiled; the compiler's words have gone to stderr.
    """
    digest = _digest()
    # By the build's id it says what it was made from. Where the user has no cache, it is there alone.
    if output.is_file() and bytes.fromhex(digest) in output.read_bytes():
        return output
    with user_cache() as cache:
        kept = cache / f"triton-backend-{digest}.so"
        if not kept.exists():
            # One of other sources must not serve in its place where this fails.
            output.unlink(missing_ok=True)
            zigs = dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), str(cache / "zig"))
            new = kept.with_suffix(f".{os.getpid()}")
            flags = ("-O2", "-Xlinker", f"--build-id=0x{digest}")
            subprocess.run(command(new, zig(), flags), env=zigs | os.environ, check=True)
            new.replace(kept)
        new = output.with_suffix(f".{os.getpid()}")
        shutil.copyfile(kept, new)
        return new.replace(output)


@contextmanager
def user_cache() -> Iterator[Path]:
    """The folder for what other builds may use; one for this build alone where the user has no home to write to."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hcopt"
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):
        writable = False
    if writable:
        yield folder
    else:
        with TemporaryDirectory() as temporary:
            yield Path(temporary)


def _digest() -> str:
    """Of all that the library is made from."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in {".cc", ".h", ".map"})
    texts = [part for path in files for part in (path.name.encode(), path.read_bytes())]
    return hashlib.sha256(b"\0".join([Path(__file__).read_bytes(), *texts])).hexdigest()[:16]


def main() -> None:
    """Builds it where the package looks for it, or elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=LIBRARY)
    compiler = parser.add_mutually_exclusive_group()
    compiler.add_argument("--compiler", type=shlex.split, default=["g++"], help="with its own options, in one argument")
    compiler.add_argument("--wheel", action="store_true", help="as the wheel has it: by ziglang, or from the cache")
    arguments = parser.parse_args()
    try:
        print(put_in_place(arguments.output) if arguments.wheel else build(arguments.output, arguments.compiler))
    except ModuleNotFoundError as missing:
        parser.exit(3, f"{missing}\n")


if __name__ == "__main__":
    main()

"""Puts perf_analyzer where the package has it, for the build hook and for scripts/setup.sh.

It is a program of the wheel of tritonclient 2.43, the last one whose `--profile-export-file` holds times alone. Later
ones write every row and answer too: gigabytes for images, and a file that breaks off at the first NaN. The Python that
runs this has that wheel; hcopt's own has a newer one for everything else. It imports the standard library alone.
`python scripts/bring_perf_analyzer.py [FOLDER]` does it by hand, where FOLDER is what `pip install --target` has made.
"""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "src" / "hcopt" / "triton" / "perf_analyzer"
VERSION = "2.43.0"
NAMES = ("perf_analyzer", "LICENSE.txt")


def bring(target: Path = FOLDER, installed: Path | None = None) -> None:
    """Copies the program and its licence.

    Args:
        target: Where to.
        installed: Where the wheel was installed to; None: into the running Python's environment.

    Raises:
        ModuleNotFoundError: It was not installed.
    """
    path = sys.path if installed is None else [str(installed)]
    found = next(
        (one for one in metadata.distributions(name="tritonclient", path=path) if one.version == VERSION), None
    )
    files = {} if found is None else {file.name: Path(str(file.locate())) for file in found.files or ()}
    if installed is not None:
        # pip puts programs into a folder of their own there, and does not say so.
        files |= {"perf_analyzer": installed / "bin" / "perf_analyzer"}
    if not all(name in files and files[name].is_file() for name in NAMES):
        raise ModuleNotFoundError(f"tritonclient {VERSION}, whose perf_analyzer hcopt brings, is not installed")
    target.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        # A new file, since the old one may be running.
        (target / name).unlink(missing_ok=True)
        shutil.copyfile(files[name], target / name)
    (target / "perf_analyzer").chmod(0o755)


if __name__ == "__main__":
    bring(installed=Path(sys.argv[1]) if len(sys.argv) > 1 else None)

#!/usr/bin/env bash
# Resolves pyproject.toml into uv.lock, the one place of all pins (newer versions: --upgrade), and writes from it what
# pip reads: requirements.txt, and scripts/uv.txt, the uv that reads the lock on a machine that has none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# uv repeats on every line what holds for all of them.
same="implementation_name == 'cpython' and platform_machine == 'x86_64'"
same+=" and platform_python_implementation == 'CPython' and sys_platform == 'linux'"

# exported COMMENT OPTIONS…
exported() {
  printf '# %s Made from uv.lock by scripts/lock.sh.\n' "$1"
  uv export --quiet --frozen --no-emit-project --no-annotate --no-header "${@:2}" | sed -E "s/ (;|and) $same//"
}

# Of PyPI alone: another index may have other files under the same names.
uv lock --quiet --default-index https://pypi.org/simple "$@"
exported "All that hcopt needs, for Python 3.10 to 3.12." --no-default-groups --extra embedded --no-hashes >requirements.txt
exported "A uv for machines that have none." --only-group uv >scripts/uv.txt

#!/usr/bin/env bash
# Compiles the exact pins of requirements.txt and tests/requirements.txt from pyproject.toml, for Python 3.10 to 3.12.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# uv repeats on every line what holds for all of them.
same="implementation_name == 'cpython' and platform_machine == 'x86_64'"
same+=" and platform_python_implementation == 'CPython' and sys_platform == 'linux'"
compile() {
  uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-emit-index-url --no-emit-find-links \
    --custom-compile-command scripts/compile_requirements.sh pyproject.toml "$@"
}
compile -o requirements.txt
compile --extra dev -c requirements.txt -o tests/requirements.txt
sed -i -E "s/(( and)|( ;)) python_full_version < '3.13' and $same//; s/ and $same//" requirements.txt tests/requirements.txt

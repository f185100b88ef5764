#!/usr/bin/env bash
# Compiles from pyproject.toml, for Python 3.10 to 3.12: requirements.txt and tests/requirements.txt, with the exact
# pins; beside them requirements-hashed.txt, the same pins with the SHA-256 of every file on PyPI, which is what the
# scripts install; and that of the fuzzer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# uv repeats on every line what holds for all of them.
same="implementation_name == 'cpython' and platform_machine == 'x86_64'"
same+=" and platform_python_implementation == 'CPython' and sys_platform == 'linux'"
compile() {
  # Of PyPI alone: another index may have other files under the same names.
  uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-emit-index-url --no-emit-find-links \
    --default-index https://pypi.org/simple --custom-compile-command scripts/compile_requirements.sh "$@"
}
hashed() {
  compile "$@" --generate-hashes
}
compile pyproject.toml -o requirements.txt
compile pyproject.toml --extra dev -c requirements.txt -o tests/requirements.txt
hashed pyproject.toml -c requirements.txt -o requirements-hashed.txt
hashed pyproject.toml --extra dev -c tests/requirements.txt -o tests/requirements-hashed.txt
hashed --no-deps tests/requirements-no-deps.in -o tests/requirements-no-deps.txt
hashed tests/fuzz/requirements.in -o tests/fuzz/requirements.txt
sed -i -E "s/(( and)|( ;)) python_full_version < '3.13' and $same//; s/ and $same//" \
  requirements.txt requirements-hashed.txt tests/requirements.txt tests/requirements-hashed.txt \
  tests/requirements-no-deps.txt tests/fuzz/requirements.txt

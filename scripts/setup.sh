# Sourced by run_analyzer.sh, run_tests.sh and .ci/run: makes .venv and installs pinned requirements, once.
# shellcheck shell=bash

fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  [ -z "${2:-}" ] || printf '  what to do: %s\n' "$2" >&2
  exit 2
}

check_platform() {
  local docker_hint="run it in a container instead: docker run --rm -it -v \"\$PWD\":/hcopt -w /hcopt python:3.11-bookworm ./run_analyzer.sh"
  [ "$(uname -s)" = Linux ] || fail "hcopt needs Linux, this is $(uname -s)" "$docker_hint"
  [ "$(uname -m)" = x86_64 ] || fail "Triton's wheels are for x86-64, this is $(uname -m)" "use an x86-64 Linux machine"
  local libc version
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || fail "Triton needs glibc, this system has another C library" "$docker_hint"
  version=${libc#glibc }
  if [ "$(printf '2.35\n%s\n' "$version" | sort -V | head -n 1)" != 2.35 ]; then
    fail "Triton needs glibc 2.35 or newer, this system has $version" "$docker_hint"
  fi
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in python3 python3.12 python3.11 python3.10; do
    if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

no_python() {
  local found
  found=$(python3 --version 2>/dev/null || echo "no Python 3")
  fail "hcopt needs Python 3.10, 3.11 or 3.12 (Triton's wheels need NumPy 1, which 3.13 has not); found $found" \
    "apt-get install python3.11 python3.11-venv, or install uv (https://docs.astral.sh/uv/), which brings a Python that fits"
}

make_venv() {
  local python
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --clear --python '>=3.10,<3.13' .venv || no_python
  else
    python=$(find_python) || no_python
    rm -rf .venv
    "$python" -m venv .venv || fail "$python cannot make a virtual environment" \
      "apt-get install python3-venv (Debian, Ubuntu), then run this again"
  fi
}

install() {
  if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --python .venv/bin/python "$@"
  else
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
  fi
}

# The machine's uv; else one of .venv, whose file pip checks.
find_uv() {
  command -v uv && return 0
  install --require-hashes -r scripts/uv.txt >&2 && printf '.venv/bin/uv\n'
}

# pins UV FILE OPTION...: writes what `uv export OPTION...` takes from uv.lock, with hashes.
pins() {
  "$1" export --quiet --frozen --no-emit-project --no-annotate "${@:3}" >"$2"
}

# The compiler is of 0.4 GB, so it is there only meanwhile.
compile_backend() {
  local failed=0
  rm -rf .venv/compiler
  pins "$1" .venv/pins-compiler.txt --only-group compiler &&
    install --target .venv/compiler --no-deps --require-hashes -r .venv/pins-compiler.txt &&
    PYTHONPATH=.venv/compiler .venv/bin/python scripts/build_backend.py --wheel || failed=$?
  rm -rf .venv/compiler
  return "$failed"
}

# perf_analyzer, of a wheel that is installed beside .venv's own newer one, and only meanwhile.
bring_perf_analyzer() {
  local failed=0
  rm -rf .venv/perf_analyzer
  install --target .venv/perf_analyzer --no-deps --require-hashes -r scripts/perf_analyzer.txt &&
    .venv/bin/python scripts/bring_perf_analyzer.py .venv/perf_analyzer || failed=$?
  rm -rf .venv/perf_analyzer
  [ "$failed" = 0 ] && return 0
  printf 'note: the perf_analyzer of scripts/perf_analyzer.txt could not be had: that of tritonclient takes its place\n' >&2
  printf '  what it means: its exports grow with the rows, and NaN or infinity in rows and answers cannot be measured\n' >&2
  printf '  to try again: rm .venv/.installed-*, then run %s again\n' "${0##*/}" >&2
}

# install_all UV PINS: hcopt and what it needs, and beside that its backend. In a shell of its own, that it ends with it.
install_all() (
  local compiling=
  if ! .venv/bin/python scripts/build_backend.py --wheel >/dev/null 2>&1; then
    printf "Building hcopt's Triton backend meanwhile (C++, once; about a minute) ...\n" >&2
    # As a process group, which ends as a whole.
    set -m
    compile_backend "$1" </dev/null >.venv/backend.log 2>&1 &
    set +m
    compiling=$!
    trap 'kill -- "-$compiling" 2>/dev/null || true' EXIT
  fi
  # Without dependencies, since all of them stand there: pip takes a[b]~=1 of a package for another one than a==1.
  install --no-deps --require-hashes -r "$2" || fail "the requirements of uv.lock could not be installed" \
    "see the message above; is the package index reachable, and does it have PyPI's own files?"
  bring_perf_analyzer
  if [ -n "$compiling" ]; then
    wait "$compiling" || no_backend
    trap - EXIT
  fi
  install --no-deps --no-build-isolation -e . || fail "hcopt could not be installed" "see the message above"
)

no_backend() {
  printf "note: hcopt's Triton backend could not be built: see .venv/backend.log\n" >&2
  printf '  what it means: without Docker a Python-based backend is measured, which reaches about half of its throughput\n' >&2
  printf '  to try again: rm .venv/.installed-*, then run %s again\n' "${0##*/}" >&2
}

# setup NAME OPTION...: installs hcopt itself and what `uv export OPTION...` takes from uv.lock, unless just that was done
# before: every file with the SHA-256 of the lock, so that no index can slip another one in.
setup() {
  local stamp=".venv/.installed-$1" pins=".venv/pins-$1.txt" uv wanted
  shift
  # The folder is part of it: a virtual environment that was moved does not work.
  wanted=$(cat uv.lock scripts/uv.txt scripts/perf_analyzer.txt pyproject.toml scripts/*.{sh,py} \
    src/hcopt/triton/onnxruntime_backend/*.{cc,h,map} <(pwd; printf '%s\n' "$@") | sha256sum | cut -d ' ' -f 1)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && fits .venv/bin/python; then
    return 0
  fi
  check_platform
  fits .venv/bin/python && [ "$(cat .venv/.made-in 2>/dev/null)" = "$(pwd)" ] || make_venv
  pwd >.venv/.made-in
  printf 'Installing into .venv (about 1.6 GB, once; a minute or two) ...\n' >&2
  uv=$(find_uv) || fail "uv, which reads the pinned requirements, could not be installed" \
    "see pip's message above; is the package index reachable, and does it have PyPI's own files?"
  pins "$uv" "$pins" --group build "$@" ||
    fail "$uv cannot read uv.lock" "it may be too old: uv self update, or take it off the PATH, and this installs one"
  install_all "$uv" "$pins" || exit
  printf '%s\n' "$wanted" >"$stamp"
}

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

# setup NAME OPTION...: installs hcopt itself and what `uv export OPTION...` takes from uv.lock, unless just that was done
# before: every file with the SHA-256 of the lock, so that no index can slip another one in.
setup() {
  local stamp=".venv/.installed-$1" pins=".venv/pins-$1.txt" uv wanted
  shift
  # The folder is part of it: a virtual environment that was moved does not work.
  wanted=$(cat uv.lock scripts/uv.txt pyproject.toml scripts/setup.sh <(pwd; printf '%s\n' "$@") | sha256sum | cut -d ' ' -f 1)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && fits .venv/bin/python; then
    return 0
  fi
  check_platform
  fits .venv/bin/python && [ "$(cat .venv/.made-in 2>/dev/null)" = "$(pwd)" ] || make_venv
  pwd >.venv/.made-in
  printf 'Installing into .venv (about 1.6 GB, once; a minute or two) ...\n' >&2
  uv=$(find_uv) || fail "uv, which reads the pinned requirements, could not be installed" \
    "see pip's message above; is the package index reachable, and does it have PyPI's own files?"
  "$uv" export --quiet --frozen --no-emit-project --no-annotate "$@" >"$pins" ||
    fail "$uv cannot read uv.lock" "it may be too old: uv self update, or take it off the PATH, and this installs one"
  # Without dependencies, since all of them stand there: pip takes a[b]~=1 of a package for another one than a==1.
  install --no-deps --require-hashes -r "$pins" || fail "the requirements of uv.lock could not be installed" \
    "see the message above; is the package index reachable, and does it have PyPI's own files?"
  install --no-deps -e . || fail "hcopt could not be installed" "see the message above"
  printf '%s\n' "$wanted" >"$stamp"
}

#!/usr/bin/env bash
# Sets everything up (once) and runs the tests with the options given here (pytest's).
# System packages are installed only as root with CI=true; elsewhere a test that lacks one is skipped and says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/setup.sh

system_packages() {
  local missing=()
  command -v pdftoppm >/dev/null 2>&1 || missing+=(poppler-utils)
  command -v chromium >/dev/null 2>&1 || missing+=(chromium)
  command -v chromedriver >/dev/null 2>&1 || missing+=(chromium-driver)
  command -v wkhtmltopdf >/dev/null 2>&1 || missing+=(wkhtmltopdf)
  command -v dockerd >/dev/null 2>&1 || missing+=(docker.io iptables)
  command -v debootstrap >/dev/null 2>&1 || missing+=(debootstrap)
  command -v docker-compose >/dev/null 2>&1 || missing+=(docker-compose)
  command -v ip >/dev/null 2>&1 || missing+=(iproute2)
  # With objdump, and the sanitizers' libraries.
  command -v g++ >/dev/null 2>&1 || missing+=(g++)
  command -v wget >/dev/null 2>&1 || missing+=(wget)
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  [ ${#missing[@]} = 0 ] && return 0
  # Only its programs: the package would start a database of its own.
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  system_packages
fi
setup tests
[ $# = 0 ] || exec .venv/bin/python -m pytest "$@"
# Unit tests start no servers and share nothing: a process for each core.
.venv/bin/python -m pytest tests/unit -n logical
# Those with servers are for most of their time waiting: four processes, even on two cores. tests/conftest.py has what
# stays together, and the order, in which the longest begin.
exec .venv/bin/python -m pytest tests/integration tests/faults -n 4 --dist loadfile --no-loadscope-reorder --durations=30

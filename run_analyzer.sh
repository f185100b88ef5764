#!/usr/bin/env bash
# Sets everything up (once) and runs `hcopt profile` with the options given here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/setup.sh
setup main requirements.txt
exec .venv/bin/hcopt profile "$@"

#!/usr/bin/env bash
# Sets everything up (once) and runs `hcopt profile` with the options given here.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# In a shell of its own, so that paths in the options stay those of the folder it is called from.
(
  cd "$project"
  . scripts/setup.sh
  setup main --no-default-groups --extra embedded
)
exec "$project/.venv/bin/hcopt" profile "$@"

#!/bin/sh
# Refuses the secrets of .env.example where the services can be reached from other machines.
set -eu

case "${HCOPT_BIND}" in
127.* | localhost | ::1 | "[::1]") exit 0 ;;
esac

refused=0
refuse() {
  echo "refused: HCOPT_BIND is ${HCOPT_BIND}, and $1 $2" >&2
  refused=1
}
for name in AWS_SECRET_ACCESS_KEY POSTGRES_PASSWORD; do
  eval "value=\${$name}"
  case "$value" in
  change-me-*) refuse "$name" "is still the one of .env.example" ;;
  *) [ ${#value} -ge 16 ] || refuse "$name" "has less than 16 characters" ;;
  esac
done
if [ "$refused" = 1 ]; then
  echo "what to do: set secrets of your own in .env, or HCOPT_BIND=127.0.0.1" >&2
  exit 1
fi

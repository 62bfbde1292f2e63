#!/bin/sh
# The programs some tests need beside what pip brings: a PostgreSQL with TLS, pgbouncer and chromium (Debian's); and those
# named as arguments (`make bench` wants haproxy).
# Installed when this is root on a Debian; otherwise those tests skip and say why. Starts no service.
set -eu

missing=
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
command -v psql >/dev/null || missing="$missing postgresql-client"
command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || missing="$missing pgbouncer"
command -v chromium >/dev/null || missing="$missing chromium"
for program; do
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing="$missing $program"
done
[ "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    printf 'test programs: not installed here:%s (tests that need them are skipped)\n' "$missing" >&2
    exit 0
fi

printf 'test programs: installing%s (apt-get)\n' "$missing" >&2
policy=/usr/sbin/policy-rc.d # 101: no service may be started by a package
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
log=$(mktemp)
# shellcheck disable=SC2086  # a list of names
if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -5 "$log" >&2
    printf 'test programs: could not be installed (tests that need them are skipped)\n' >&2
fi
rm -f "$log"

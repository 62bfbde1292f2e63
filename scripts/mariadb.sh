#!/bin/sh
# MariaDB for the tests, the demo and the benchmarks: server, clients, and the plugins that only Debian's whole server
# package has (ed25519, FEDERATED...). As root the programs are installed (never the service); what is not installed is
# unpacked below .mariadb, which needs no root. Idempotent. Where neither works, tests that need MariaDB are skipped.
# `programs`: server and clients only, which is all that the demo needs.
set -eu
cd "$(dirname "$0")/.."

UNPACKED=.mariadb
PROGRAMS="mariadb-server-core mariadb-client-core mariadb-client"
LIBRARIES="libmariadb3 libaio1 libnuma1 liburing2 libpcre2-8-0 libsnappy1v5 libedit2 libncurses6 libtinfo6"

say() { printf 'mariadb: %s\n' "$*" >&2; }

have() { # every program, installed or unpacked
    for program in sbin/mariadbd bin/mariadb bin/mariadb-dump; do
        [ -x "/usr/$program" ] || [ -x "$UNPACKED/usr/$program" ] || return 1
    done
}
NODE_DRIVER=mysql2@3.24.6
have_node_driver() { ! command -v npm >/dev/null || [ -d "$UNPACKED/node_modules/mysql2" ]; }
COMPILED_DRIVER=mysqlclient==2.3.2
have_compiled_driver() { # where it cannot be built nothing is tried twice
    [ ! -x .venv/bin/uv ] || [ -d "$UNPACKED/python" ]
}
have_plugins() { [ -e "$UNPACKED/usr/lib/mysql/plugin/auth_ed25519.so" ]; }

only_programs=false
[ "${1:-}" != programs ] || only_programs=true
if have && $only_programs; then exit 0; fi
if have && have_plugins && have_node_driver && have_compiled_driver; then exit 0; fi

if ! $only_programs && ! have_node_driver; then
    mkdir -p "$UNPACKED"
    npm install --silent --no-audit --no-fund --no-save --ignore-scripts --prefix "$UNPACKED" "$NODE_DRIVER" >&2 ||
        say "no $NODE_DRIVER"
fi
command -v apt-get >/dev/null || { say "no apt-get here: tests that need MariaDB are skipped"; exit 0; }

LOG=$(mktemp)
quietly() { "$@" >"$LOG" 2>&1 || { tail -3 "$LOG" >&2; return 1; }; }

unpack() { # of packages that may be missing in this release the others count
    mkdir -p "$UNPACKED"
    place=$(mktemp -d)
    for package; do
        (cd "$place" && quietly apt-get download -qq "$package") || say "no package $package"
    done
    for file in "$place"/*.deb; do
        [ ! -e "$file" ] || dpkg-deb -x "$file" "$UNPACKED"
    done
    rm -rf "$place"
}

if [ "$(id -u)" = 0 ]; then
    quietly apt-get update -qq || say "apt-get update failed"
    if ! have; then
        say "installing $PROGRAMS (apt-get)"
        # shellcheck disable=SC2086  # a list of names
        DEBIAN_FRONTEND=noninteractive quietly apt-get install -y -qq --no-install-recommends $PROGRAMS ||
            say "could not be installed"
    fi
fi
if ! have; then
    say "unpacking it below $UNPACKED"
    # shellcheck disable=SC2086
    unpack $PROGRAMS $LIBRARIES
fi
if ! $only_programs && ! have_plugins; then
    place=$(mktemp -d)
    if (cd "$place" && quietly apt-get download -qq mariadb-server); then
        mkdir -p "$UNPACKED"
        dpkg-deb --fsys-tarfile "$place"/*.deb | tar -xf - -C "$UNPACKED" ./usr/lib/mysql/plugin
    else
        say "no plugins"
    fi
    rm -rf "$place"
fi
if ! $only_programs && ! have_compiled_driver; then
    mkdir -p "$UNPACKED/python"
    if [ "$(id -u)" = 0 ] && ! [ -e /usr/include/mariadb/mysql.h ]; then
        DEBIAN_FRONTEND=noninteractive quietly apt-get install -y -qq --no-install-recommends \
            libmariadb-dev pkg-config || say "no libmariadb-dev"
    fi
    quietly .venv/bin/uv pip install -q --python .venv/bin/python --target "$UNPACKED/python" "$COMPILED_DRIVER" ||
        say "no $COMPILED_DRIVER"
fi
have || say "not here: tests that need MariaDB are skipped"
rm -f "$LOG"

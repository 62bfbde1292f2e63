#!/bin/sh
# Makes .venv with everything in constraints.txt and the extensions built in place. `make setup` calls it.
# Idempotent: a stamp over the files it depends on makes a second run free.
# --check does nothing and says by its exit status (3) that there would be something to do.
# SALLYPORT_EXTRAS=demo leaves the development tools out (what `make demo` needs). PYTHON picks the interpreter.
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
EXTRAS=${SALLYPORT_EXTRAS:-dev}
UV_PIN=$(sed -n 's/^uv==//p' constraints.txt)

export UV_SYSTEM_CERTS=1 # a company's own CA counts as well

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# --- anything to do? ------------------------------------------------------------------------------

wanted() { # fingerprint of what the virtual environment and the extensions are made from
    { printf '%s\n' "$1"; cat "$@"; } 2>/dev/null | cksum
}
packages_now="$(wanted pyproject.toml constraints.txt scripts/setup.sh)"
extensions_now="${SALLYPORT_FLAVOUR:-release} $(wanted setup.py $(ls _speedups/*.pyx _speedups/*.pxd 2>/dev/null))"
packages_then=$(cat "$VENV/.packages.$EXTRAS" 2>/dev/null || :)
[ "$EXTRAS" = dev ] || [ "$packages_then" ] || packages_then=$(cat "$VENV/.packages.dev" 2>/dev/null || :)
extensions_then=$(cat "$VENV/.extensions" 2>/dev/null || :)
built() { # every .pyx has its .so
    for source in _speedups/*.pyx; do
        [ -e "$source" ] || continue
        set -- "${source%.pyx}".*.so
        [ -e "$1" ] || return 1
    done
}
packages_fit=false; extensions_fit=false
[ "$packages_now" != "$packages_then" ] || [ ! -x "$VENV/bin/sallyport" ] || packages_fit=true
[ "$extensions_now" != "$extensions_then" ] || ! built || extensions_fit=true
if $packages_fit && $extensions_fit; then exit 0; fi
if [ "${1:-}" = --check ]; then exit 3; fi

# --- what the machine must have -------------------------------------------------------------------

install_packages() { # apt-get as root, or say what to do
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $* (apt-get)"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
    else
        die "missing: $*. On Debian or Ubuntu: sudo apt-get install $*"
    fi
}

find_python() {
    for name in ${PYTHON:-} python3.11 python3 python3.12 python3.13; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

if [ ! -x "$VENV/bin/python" ]; then
    PY=$(find_python) || { install_packages python3 python3-venv python3-dev; PY=$(find_python); } ||
        die "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"
else
    PY=$VENV/bin/python
fi

headers() { "$PY" -c 'import os, sysconfig; print(os.path.join(sysconfig.get_path("include"), "Python.h"))'; }
command -v gcc >/dev/null || command -v cc >/dev/null || install_packages gcc libc6-dev
[ -e "$(headers)" ] || install_packages "$("$PY" -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')"

# --- the virtual environment ----------------------------------------------------------------------

make_venv() {
    "$PY" -m venv "$VENV" >/dev/null 2>&1 && return 0
    rm -rf "$VENV" # half made: no ensurepip (Debian splits it off)
    if command -v uv >/dev/null; then uv venv -q -p "$PY" "$VENV" && return 0; fi
    if "$PY" -m pip --version >/dev/null 2>&1; then
        borrowed=$(mktemp -d) # uv needs no ensurepip, and --target touches nothing of the system's
        if "$PY" -m pip install -q --disable-pip-version-check --target "$borrowed" "uv==$UV_PIN" &&
            "$borrowed/bin/uv" venv -q -p "$PY" "$VENV" &&
            "$borrowed/bin/uv" pip install -q --python "$VENV/bin/python" "uv==$UV_PIN"; then
            rm -rf "$borrowed"
            return 0
        fi
        rm -rf "$borrowed"
    fi
    install_packages "$("$PY" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    "$PY" -m venv "$VENV"
}

if [ ! -x "$VENV/bin/python" ]; then
    say "creating $VENV with $PY"
    make_venv || die "no virtual environment could be made with $PY"
    PY=$VENV/bin/python
fi

if command -v uv >/dev/null; then UV=$(command -v uv)
else
    UV=$VENV/bin/uv
    [ -x "$UV" ] || "$PY" -m pip install -q --disable-pip-version-check "uv==$UV_PIN" || say "no uv, pip will do"
fi

install() { # uv where it works (seconds), else pip
    if [ -x "$UV" ] && "$UV" pip install -q --python "$PY" -c constraints.txt "$@"; then return 0; fi
    say "uv could not, trying pip"
    "$PY" -m pip install -q --disable-pip-version-check -c constraints.txt "$@"
}

if ! $packages_fit; then
    say "installing what constraints.txt pins"
    install setuptools Cython
    requirements=$VENV/.requirements
    "$PY" - "$EXTRAS" >"$requirements" <<'PYTHON'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
lines, wanted = list(project["dependencies"]), [sys.argv[1]]
while wanted:
    for line in extras[wanted.pop()]:
        if line.startswith("sallyport["):
            wanted.append(line[len("sallyport["):-1])
        else:
            lines.append(line)
print("\n".join(lines))
PYTHON
    # The extensions compile while the packages come.
    "$PY" setup.py -q build_ext --inplace -j 2 >"$VENV/.build.log" 2>&1 & builder=$!
    install -r "$requirements" || { wait "$builder"; die "the packages could not be installed"; }
    wait "$builder" || { cat "$VENV/.build.log" >&2; die "the extensions could not be built"; }
    # Metadata and the `sallyport` command only: the extensions are there already.
    SALLYPORT_BUILD=skip install --no-deps --no-build-isolation -e .
    printf '%s\n' "$packages_now" >"$VENV/.packages.$EXTRAS"
else
    say "building the extensions"
    "$PY" setup.py -q build_ext --inplace -j 2 >"$VENV/.build.log" 2>&1 ||
        { cat "$VENV/.build.log" >&2; die "the extensions could not be built"; }
fi
printf '%s\n' "$extensions_now" >"$VENV/.extensions"
say "done"

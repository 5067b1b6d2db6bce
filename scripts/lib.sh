# Shared by the scripts beside it: where things are kept, how they speak, what they install.
# Sourced, never run. Everything it does can be repeated.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${RIVET_BUILD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rivet-engine}
GUESTS=${RIVET_GUESTS_DIR:-$ROOT/target/guests}

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Installs Debian packages that are missing; elsewhere says which ones to install.
need_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg -s "$name" >/dev/null 2>&1 || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || fail "install these packages, or what your system calls them, and run this again: ${missing[*]}"
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    say "installing ${missing[*]}"
    local log
    log=$(mktemp)
    { "${sudo[@]}" apt-get update -qq && "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 ||
        { cat "$log" >&2; fail "apt-get could not install ${missing[*]}; see above"; }
    rm -f "$log"
}

# The folder of a dependency's sources, as cargo fetched them.
source_of() {
    cargo metadata --format-version 1 --locked --manifest-path "$ROOT/Cargo.toml" 2>/dev/null |
        python3 -c 'import json,sys,os
name = sys.argv[1]
print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == name))' "$1"
}

need_cargo() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || fail "cargo is missing; install it with rustup (https://rustup.rs) and run this again"
}

# Where cargo puts what it builds; a variable or a configuration file may have moved it.
target_dir() {
    cargo metadata --format-version 1 --no-deps --locked --manifest-path "$ROOT/Cargo.toml" |
        python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])'
}

SHA256=(sha256sum)
command -v sha256sum >/dev/null || SHA256=(shasum -a 256)
# Of a file, the beginning: enough to name a folder after.
sha256() { "${SHA256[@]}" "$1" | cut -c1-12; }

# Flags and folders meant for the engine's own build must not reach that of a guest; where and how to download may.
without_the_engines_flags() {
    local name
    for name in $(compgen -e); do
        case $name in
            CARGO_HOME | CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTR* | CARGO_SOURCE_* | RUSTUP_*) ;;
            CARGO* | RUST*) unset "$name" ;;
        esac
    done
}

# In which language the guest of a folder is written; fails if there is none.
language_of() {
    if [ -f "$1/Cargo.toml" ]; then echo rust
    elif [ -f "$1/actor.js" ]; then echo js
    elif [ -f "$1/app.py" ]; then echo python
    elif [ -f "$1/actor.c" ]; then echo c
    else return 1
    fi
}

# The name of the world that a guest is built for.
world_of() { sed -n 's/^world \([a-z0-9-]*\) {.*/\1/p' "$1/wit/world.wit"; }

# Installs Python packages into a virtual environment, unless the file that they bring is there.
from_pypi() {
    local to=$1 file=$2
    shift 2
    [ ! -x "$to/$file" ] || return 0
    say "installing $* from PyPI; it is kept in $to"
    rm -rf "$to"
    { python3 -m venv "$to" && "$to/bin/pip" install --quiet --disable-pip-version-check "$@"; } >&2 ||
        { rm -rf "$to"; fail "$* could not be installed from PyPI into a virtual environment (Python 3.10 or later, on Debian with python3-venv); see above"; }
}

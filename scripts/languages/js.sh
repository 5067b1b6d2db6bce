# Guests in JavaScript: a folder with an actor.js and a wit/world.wit. Sourced by ../guests and ../projects, after lib.sh.
#
# componentize-js comes from npm, in the versions of js/package-lock.json, into a cache folder. It puts the source, evaluated as far as
# its top level, into a component with an engine for JavaScript.

LOCK_JS=$ROOT/scripts/languages/js
RECIPE_JS="componentize-js $(sed -n 's/.*"@bytecodealliance\/componentize-js": "\(.*\)".*/\1/p' "$LOCK_JS/package.json")"

prepare_js() {
    command -v npm >/dev/null || need_packages nodejs npm
    TOOLS_JS=$CACHE/componentize-js-$(sha256 "$LOCK_JS/package-lock.json")
    [ ! -x "$TOOLS_JS/node_modules/.bin/componentize-js" ] || return 0
    say "installing $RECIPE_JS from npm; it is kept in $TOOLS_JS"
    local tmp
    tmp=$(mktemp -d "$CACHE/componentize-js.XXXXXX")
    cp "$LOCK_JS"/package*.json "$LOCK_JS/.npmrc" "$tmp/"
    # Not `npm ci`: it refuses a lock that lacks the optional packages of other platforms, which not every registry has.
    (cd "$tmp" && npm install --no-save --ignore-scripts --loglevel=error >&2) ||
        { rm -rf "$tmp"; fail "$RECIPE_JS could not be installed from npm; see above"; }
    rm -rf "$TOOLS_JS"
    mv "$tmp" "$TOOLS_JS"
}

needs_js() { if grep -q "'../../sdk/js/" "$1"/*.js; then echo "$ROOT/sdk/js"; fi; }

build_js() {
    local folder=$1 to=$2 base=$1
    # A module that is imported must lie below the folder in which the tool runs.
    [ -z "$(needs_js "$folder")" ] || base=$ROOT
    # Its thanks go to nobody.
    (cd "$base" && "$TOOLS_JS/node_modules/.bin/componentize-js" --wit "$folder/wit" -n "$(world_of "$folder")" -o "$to" \
        "$(realpath --relative-to=. "$folder/actor.js")" >&2)
}

# Guests in Python: a folder with an app.py and a wit/world.wit. Sourced by ../guests and ../projects, after lib.sh.
#
# componentize-py comes from PyPI into a cache folder. It puts the source, imported, into a component with CPython.

VERSION_PYTHON=0.25.1
RECIPE_PYTHON="componentize-py $VERSION_PYTHON"

prepare_python() {
    TOOLS_PYTHON=$CACHE/componentize-py-$VERSION_PYTHON
    from_pypi "$TOOLS_PYTHON" bin/componentize-py "componentize-py==$VERSION_PYTHON"
}

needs_python() { if ! [ -d "$1/rivet_actor" ]; then echo "$ROOT/sdk/python"; fi; }

build_python() {
    local folder=$1 to=$2 sdk
    sdk=$(needs_python "$folder")
    (cd "$folder" && "$TOOLS_PYTHON/bin/componentize-py" -d wit -w "$(world_of "$folder")" componentize -p . ${sdk:+-p "$sdk"} app \
        -o "$to" >&2)
}

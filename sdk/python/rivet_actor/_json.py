"""JSON with what JSON cannot say, as RivetKit writes it: `["$BigInt", "123"]`, `["$Uint8Array", base64]`."""

import base64
import json

#: Beyond it JavaScript's numbers are not exact.
SAFE_INTEGER_MAX = 2**53 - 1


def encode(value):
    return json.dumps(_tagged(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def decode(text):
    return None if text is None else _untagged(json.loads(text))


def _tagged(value):
    if isinstance(value, (bytes, bytearray)):
        return ["$Uint8Array", base64.b64encode(value).decode()]
    if isinstance(value, int) and abs(value) > SAFE_INTEGER_MAX:
        return ["$BigInt", str(value)]
    if isinstance(value, dict):
        return {key: _tagged(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_tagged(item) for item in value]
        if len(items) == 2 and isinstance(value[0], str) and value[0].startswith("$"):
            items[0] = "$" + items[0]
        return items
    return value


def _untagged(value):
    if isinstance(value, dict):
        return {key: _untagged(inner) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) != 2 or not isinstance(value[0], str) or not value[0].startswith("$"):
        return [_untagged(item) for item in value]
    tag, inner = value
    match tag:
        case "$BigInt":
            return int(inner)
        case "$Uint8Array" | "$ArrayBuffer":
            return base64.b64decode(inner)
        case "$Undefined":
            return None
        case "$Set":
            return [_untagged(item) for item in inner]
        case _:
            return [tag[1:], _untagged(inner)]

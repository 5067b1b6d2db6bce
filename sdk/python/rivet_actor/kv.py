"""The actor's own key-value state, ordered by the bytes of the key. Keys and values are text or bytes; values come back as bytes."""

from wit_world.imports import kv as host

from . import _json
from ._failure import asking, to_bytes


def get(key):
    with asking():
        return host.get(to_bytes(key))


def put(key, value):
    with asking():
        host.put(to_bytes(key), to_bytes(value))


def delete(key):
    """A key that is not there is not an error."""
    with asking():
        host.delete(to_bytes(key))


def entries(prefix=None, start=None, end=None, reverse=False, limit=None, keys_only=False):
    """Those whose keys begin with `prefix`, or lie from `start` up to but not including `end`; pairs of key and value."""
    if prefix is not None:
        selector = host.Selector_Prefix(to_bytes(prefix))
    elif start is None and end is None:
        selector = host.Selector_All()
    else:
        selector = host.Selector_Range(host.KeyRange(to_bytes(start), None if end is None else to_bytes(end)))
    with asking():
        return [(entry.key, entry.value) for entry in host.list(selector, host.ListOptions(reverse, limit, keys_only))]


def get_json(key, default=None):
    """A value that `put_json` wrote."""
    value = get(key)
    return default if value is None else _json.decode(value.decode())


def put_json(key, value):
    put(key, _json.encode(value))

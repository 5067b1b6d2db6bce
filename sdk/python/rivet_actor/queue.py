"""The actor's own durable queue; methods marked with `@queued` handle it."""

from wit_world.imports import queue as host

from . import _json
from ._failure import asking


def push(name, body):
    """Puts a message behind all others. Answers with its number."""
    with asking():
        return host.push(name, _json.encode(body))


def size():
    """How many wait, the one being handled included."""
    with asking():
        return host.size()

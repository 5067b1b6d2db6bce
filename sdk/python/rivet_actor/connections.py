"""The sockets that clients have open to this actor."""

from dataclasses import dataclass

from wit_world.imports import connections as host
from wit_world.imports import types

from . import _json
from ._failure import asking, to_bytes


@dataclass
class Connection:
    id: str
    #: "client": a RivetKit client, or "websocket".
    kind: str
    params: object
    state: bytes
    connected_at: int


def get(id):
    return _from_host(host.get(id))


def entries():
    return [_from_host(found) for found in host.list()]


def broadcast(event, *args):
    """An event to every RivetKit client that has subscribed to it; answers with how many."""
    with asking():
        return host.broadcast(event, _json.encode(args))


def send_event(id, event, *args):
    """An event to one RivetKit client."""
    with asking():
        host.send_event(id, event, _json.encode(args))


def send(id, message):
    """A message to one WebSocket: text or bytes."""
    with asking():
        host.send(id, types.Message_Text(message) if isinstance(message, str) else types.Message_Binary(bytes(message)))


def set_state(id, state):
    """At most 65536 bytes; there again when the actor wakes."""
    with asking():
        host.set_state(id, to_bytes(state))


def close(id, code=None, reason=None):
    """1000 without a code."""
    with asking():
        host.close(id, code, reason)


def _from_host(found):
    if found is None:
        return None
    return Connection(found.id, found.kind.name.lower(), _json.decode(found.params), found.state, found.connected_at)

"""Other actors of the same namespace, in whatever language. What they do stays done, even if this handler fails later."""

from contextlib import contextmanager

from componentize_py_types import Err
from wit_world.imports import actors as host

from . import _json
from ._failure import Failure


def by_id(id):
    return host.Target_Id(id)


def get(name, *key):
    """One that must be there."""
    return host.Target_Get(host.ActorKey(name, list(key)))


def get_or_create(name, *key, input=None):
    """Is created if it is not there, with this input."""
    return host.Target_GetOrCreate(host.Creation(name, list(key), input))


def call(to, action, *args, timeout_ms=None):
    """Waits for the answer, at most 60 s without a timeout. What refuses is raised as a `Failure` with a group."""
    with _asking():
        return _json.decode(host.call(to, action, _json.encode(args), timeout_ms))


def push(to, queue, body):
    """Puts a message into its queue; it is durable there when this returns."""
    with _asking():
        host.push(to, queue, _json.encode(body))


@contextmanager
def _asking():
    try:
        yield
    except Err as error:
        refusal = error.value
        raise Failure(refusal.code, refusal.message, _json.decode(refusal.metadata), refusal.group) from None

"""The one moment at which the actor's `alarm` is called. Milliseconds since 1970."""

from wit_world.imports import alarm as host

from ._failure import asking


def set(moment_ms):
    """Replaces an earlier one."""
    with asking():
        host.set(int(moment_ms))


def get():
    return host.get()


def clear():
    with asking():
        host.clear()

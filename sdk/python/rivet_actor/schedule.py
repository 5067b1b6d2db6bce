"""Actions that the engine calls by itself. Moments are milliseconds since 1970."""

from dataclasses import dataclass

from wit_world.imports import schedule as host

from . import _json
from ._failure import asking


@dataclass
class Entry:
    #: A one-shot's id, or a cron schedule's name.
    id: str
    action: str
    args: list
    next_at: int
    cron: str | None


def at(moment_ms, action, *args):
    """Answers with an id."""
    with asking():
        return host.at(int(moment_ms), action, _json.encode(args))


def cron(name, expression, action, *args):
    """Five fields, or six with seconds in front, in UTC. The same again changes nothing: call it at every start."""
    with asking():
        host.cron(name, expression, action, _json.encode(args))


def cancel(id):
    """False if there is no such schedule (any more)."""
    with asking():
        return host.cancel(id)


def entries():
    with asking():
        return [Entry(found.id, found.action, _json.decode(found.args), found.next_at, found.cron) for found in host.list()]

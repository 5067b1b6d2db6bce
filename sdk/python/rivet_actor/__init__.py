"""Write stateful actors for rivet-engine in Python: one class, and what an actor can call.

    from rivet_actor import Actor, action, connections, export, kv

    class Counter(Actor):
        @action
        def increment(self, by=1):
            count = kv.get_json("count", 0) + by
            kv.put_json("count", count)
            connections.broadcast("changed", count)
            return count

    export(Counter)

`raise Failure(code, message, metadata)` is an answer: what was written before it is kept. Any other exception ends the call as a crash
does: its traceback is in the actor's log, nothing is written, and the actor begins anew.

The object is memory: it is made when the actor comes into memory, and gone when the actor sleeps, is upgraded, or crashes.
"""

from . import actors, alarm, config, connections, context, kv, log, queue, schedule, sql
from ._actor import Actor, Request, Response, action, export, queued
from ._failure import Failure

__all__ = [
    "Actor", "Failure", "Request", "Response", "action", "actors", "alarm", "config", "connections", "context", "export", "kv", "log",
    "queue", "queued", "schedule", "sql",
]

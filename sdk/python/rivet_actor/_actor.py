"""From the engine's calls to an actor's methods."""

import sys
from dataclasses import dataclass, field

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import types

from . import _json
from ._failure import Failure, to_bytes, to_host

# There are only those that the actor's world names, and they can be imported only while the component is built.
try:
    from wit_world.exports import http_handler
except ImportError:
    http_handler = None


@dataclass
class Request:
    method: str
    path: str
    #: Without the `?`; as it was sent.
    query: str | None
    #: Names are lower case.
    headers: dict
    body: bytes


@dataclass
class Response:
    #: Text, bytes, or something for JSON.
    body: object = b""
    status: int = 200
    headers: dict = field(default_factory=dict)


def action(named):
    """Marks a method as an action: `@action`, or `@action("anotherName")`."""
    return _mark("_rivet_action", named)


def queued(named):
    """Marks a method as the handler of a queue: `@queued`, or `@queued("anotherName")`. It gets a message's body."""
    return _mark("_rivet_queue", named)


def _mark(attribute, named):
    def mark(method, name=None):
        setattr(method, attribute, name or method.__name__)
        return method

    return mark(named) if callable(named) else lambda method: mark(method, named)


class Actor:
    """Implement the methods whose handlers are in the actor's `wit/world.wit`."""

    #: Who called the action that runs: `http`, `connection`, `actor` or `schedule`, and its id.
    origin = ("http", None)
    #: The number of the queue's message that is handled, and how often it was tried, from 1.
    message_id, attempt = 0, 0

    def start(self, reason):
        """`start-handler`: "created", "woken", "restarted" or "upgraded". An exception stops the actor."""

    def stop(self, reason):
        """`stop-handler`: "sleep", "destroy" or "going-away"."""

    def migrate(self, from_version):
        """`migrate-handler`: an exception leaves the actor with the version that it had."""

    def alarm(self, scheduled_ms, attempt):
        """`alarm-handler`: an exception drops what was written and lets the alarm fire again later."""

    def connect(self, id, params):
        """`connection-handler`: what it returns, text or bytes, is the connection's state."""

    def disconnect(self, id):
        """`connection-handler`."""

    def open(self, id, request):
        """`websocket-handler`: what it returns, text or bytes, is the connection's state."""

    def receive(self, id, message):
        """`websocket-handler`: `message` is text or bytes."""

    def close(self, id, code, reason):
        """`websocket-handler`: without a code if the client was gone without a word."""

    def http(self, request):
        """`http-handler`: takes a `Request`, returns a `Response`."""
        return Response("not found", 404)


def export(actor):
    """Puts the classes that componentize-py looks for beside the actor's own."""
    instance = []

    def the():
        # Made by the first call and not before: while the component is built there is no host to ask.
        if not instance:
            instance.append(actor())
        return instance[0]

    module = sys.modules[actor.__module__]
    for handler in _handlers(actor, the):
        if hasattr(exports, handler.__name__):
            setattr(module, handler.__name__, handler)


def _handlers(actor, the):
    def marked(attribute):
        found = (getattr(actor, name) for name in dir(actor))
        return {getattr(method, attribute): method for method in found if hasattr(method, attribute)}

    actions, queues = marked("_rivet_action"), marked("_rivet_queue")

    class ActionHandler:
        def handle(self, call):
            def run():
                if call.name not in actions:
                    raise Failure("action_not_found", f"there is no action {call.name}")
                kind = type(call.origin).__name__.removeprefix("Origin_").lower()
                the().origin = (kind, getattr(call.origin, "value", None))
                return _json.encode(actions[call.name](the(), *_json.decode(call.args)))

            return _refusing(run)

    class QueueHandler:
        def handle(self, message):
            def run():
                if message.name not in queues:
                    raise Failure("unknown_queue", f"there is no queue {message.name}")
                the().message_id, the().attempt = message.id, message.attempt
                answer = queues[message.name](the(), _json.decode(message.body))
                return None if answer is None else _json.encode(answer)

            return _refusing(run)

    class ConnectionHandler:
        def connect(self, id, params):
            return _refusing(lambda: to_bytes(the().connect(id, _json.decode(params))))

        def disconnect(self, id):
            the().disconnect(id)

    class WebsocketHandler:
        def open(self, id, request):
            opened = Request("GET", request.path, request.query, _headers(request.headers), b"")
            return _refusing(lambda: to_bytes(the().open(id, opened)))

        def receive(self, id, message):
            the().receive(id, message.value)

        def close(self, id, code, reason):
            the().close(id, code, reason)

    class HttpHandler:
        def handle(self, request):
            headers = _headers(request.headers)
            response = the().http(Request(request.method, request.path, request.query, headers, request.body))
            body, headers = response.body, {name.lower(): value for name, value in response.headers.items()}
            if not isinstance(body, (str, bytes, bytearray)):
                body = _json.encode(body)
                headers.setdefault("content-type", "application/json")
            headers.setdefault("content-type", "text/plain; charset=utf-8")
            named = [types.Header(name, to_bytes(value)) for name, value in headers.items()]
            return http_handler.Response(response.status, named, to_bytes(body))

    class StartHandler:
        def start(self, reason):
            _telling(lambda: the().start(_word(reason)))

    class StopHandler:
        def stop(self, reason):
            the().stop(_word(reason))

    class MigrateHandler:
        def migrate(self, from_version):
            _telling(lambda: the().migrate(from_version))

    class AlarmHandler:
        def fired(self, scheduled, attempt):
            _telling(lambda: the().alarm(scheduled, attempt))

    return [
        ActionHandler, QueueHandler, ConnectionHandler, WebsocketHandler, HttpHandler, StartHandler, StopHandler, MigrateHandler,
        AlarmHandler,
    ]


def _refusing(run):
    try:
        return run()
    except Failure as failure:
        raise to_host(failure) from None


def _telling(run):
    try:
        run()
    except Exception as error:
        raise Err(str(error)) from error


def _headers(headers):
    return {header.name: header.value.decode("utf-8", "replace") for header in headers}


def _word(case):
    return case.name.lower().replace("_", "-")

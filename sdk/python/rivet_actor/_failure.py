"""What a handler refuses with, and what the host refuses with, which is the same to an actor's code."""

from contextlib import contextmanager

from componentize_py_types import Err
from wit_world.imports import types

from . import _json


class Failure(Exception):
    """A RivetKit client gets it as an `ActorError` of group `user`."""

    def __init__(self, code, message=None, metadata=None, group="user"):
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.metadata = metadata
        #: Of what another actor refused with: `user`, or `actor` for what the engine says.
        self.group = group


_CODES = {
    types.Error_InvalidArgument: "invalid_argument",
    types.Error_TooLarge: "too_large",
    types.Error_QuotaExceeded: "quota_exceeded",
    types.Error_Other: "refused",
}


@contextmanager
def asking():
    """What the host refuses becomes a `Failure`, whose code says why."""
    try:
        yield
    except Err as error:
        raise Failure(_CODES.get(type(error.value), "refused"), getattr(error.value, "value", str(error.value))) from None


def to_host(failure):
    metadata = None if failure.metadata is None else _json.encode(failure.metadata)
    return Err(types.Failure(failure.code, failure.message, metadata))


def to_bytes(value):
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else bytes(value)

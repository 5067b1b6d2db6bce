"""The actor's own SQLite database. What one call does in it is one transaction, together with all else that the call writes.

So BEGIN, COMMIT and ROLLBACK are not for the actor; SAVEPOINT is.
"""

from contextlib import contextmanager
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world.imports import sql as host

from ._failure import Failure


@dataclass
class Executed:
    columns: list
    #: Each a dict by column.
    rows: list
    changes: int
    last_insert_row_id: int | None


def execute(statement, *parameters):
    """Exactly one statement."""
    with _asking():
        done = host.execute(statement, [_to_host(parameter) for parameter in parameters])
    rows = [{column: _from_host(value) for column, value in zip(done.columns, row)} for row in done.rows]
    return Executed(done.columns, rows, done.changes, done.last_insert_row_id)


def script(statements):
    """Any number of statements without parameters: for a schema."""
    with _asking():
        host.execute_script(statements)


@contextmanager
def _asking():
    try:
        yield
    except Err as error:
        raise Failure(f"sql_{error.value.code}", error.value.message) from None


def _to_host(value):
    match value:
        case None:
            return host.Value_Null()
        case int():
            return host.Value_Integer(int(value))
        case float():
            return host.Value_Real(value)
        case str():
            return host.Value_Text(value)
        case _:
            return host.Value_Blob(bytes(value))


def _from_host(value):
    return getattr(value, "value", None)

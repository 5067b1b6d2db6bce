"""A to-do list for each tenant: one actor, and so one SQLite database, per key.

No query names a tenant, so none can forget to; what one tenant stores, and how long its queries take, is nobody else's concern.
"""

from rivet_actor import Actor, Failure, Response, action, connections, export, sql

TEXT_CHARACTERS_MAX = 1000
LISTED_MAX = 500

SCHEMA = """
CREATE TABLE IF NOT EXISTS todo (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    tag TEXT,
    done INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS todo_by_tag ON todo (tag, done);
"""


class Todo(Actor):
    def start(self, reason):
        sql.script(SCHEMA)

    @action
    def add(self, text, tag=None):
        if not isinstance(text, str) or not 0 < len(text) <= TEXT_CHARACTERS_MAX:
            raise Failure("invalid_text", f"a text has 1 to {TEXT_CHARACTERS_MAX} characters")
        id = sql.execute("INSERT INTO todo (text, tag) VALUES (?, ?)", text, tag).last_insert_row_id
        return self.changed(id)

    @action
    def complete(self, id, done=True):
        if sql.execute("UPDATE todo SET done = ? WHERE id = ?", bool(done), id).changes == 0:
            raise Failure("not_found", f"there is no todo {id}", {"id": id})
        return self.changed(id)

    @action
    def remove(self, id):
        return sql.execute("DELETE FROM todo WHERE id = ?", id).changes > 0

    @action
    def list(self, tag=None, done=None):
        statement = "SELECT * FROM todo WHERE (?1 IS NULL OR tag = ?1) AND (?2 IS NULL OR done = ?2) ORDER BY id LIMIT ?3"
        return [self.shown(row) for row in sql.execute(statement, tag, done, LISTED_MAX).rows]

    def http(self, request):
        if (request.method, request.path) != ("GET", "/"):
            return Response("there is only GET /", 404)
        return Response(self.list())

    def changed(self, id):
        todo = self.shown(sql.execute("SELECT * FROM todo WHERE id = ?", id).rows[0])
        connections.broadcast("changed", todo)
        return todo

    def shown(self, row):
        return row | {"done": bool(row["done"])}


export(Todo)

"""The counter that also exists in Rust, JavaScript and C: every feature of an actor, each in a few lines.

What it answers is written down in ../README.md; one test compares the four.
"""

import time

from rivet_actor import (
    Actor, Failure, Response, action, actors, alarm, config, connections, context, export, kv, log, queue, queued, schedule, sql,
)

STEP_MAX = 1_000_000


def now_ms():
    return int(time.time() * 1000)


def whole(value):
    if not isinstance(value, int) or isinstance(value, bool):
        raise Failure("invalid_argument", f"a whole number is expected, and not {value!r}")
    return value


def step(by):
    # A client may leave it out or pass null.
    return 1 if by is None else whole(by)


def text(value):
    if not isinstance(value, str):
        raise Failure("invalid_argument", f"a text is expected, and not {value!r}")
    return value


def add(by):
    if abs(whole(by)) > STEP_MAX:
        raise Failure("invalid_argument", f"a step has at most {STEP_MAX}")
    count = kv.get_json("count", 0) + by
    kv.put_json("count", count)
    sql.execute("INSERT INTO history (by, count) VALUES (?, ?)", by, count)
    connections.broadcast("changed", count)
    return count


class Counter(Actor):
    #: Why it is in memory.
    started = None

    @action
    def increment(self, by=None):
        return add(step(by))

    @action
    def get(self):
        return kv.get_json("count", 0)

    @action
    def fail(self, code=None):
        kv.put_json("failed", text(code))
        raise Failure(code, "failed as asked", {"asked": code})

    @action
    def crash(self):
        kv.put_json("count", -1)
        raise RuntimeError("crashed as asked")

    @action
    def history(self):
        return sql.execute("SELECT by, count FROM history ORDER BY id").rows

    @action("incrementLater")
    def increment_later(self, ms=None, by=None):
        return schedule.at(now_ms() + whole(ms), "increment", step(by))

    @action
    def cancel(self, id=None):
        return schedule.cancel(text(id))

    @action
    def every(self, expression=None):
        schedule.cron("tick", text(expression), "increment", 1)

    @action
    def schedules(self):
        return [{"action": entry.action, "cron": entry.cron} for entry in schedule.entries()]

    @action("alarmIn")
    def alarm_in(self, ms=None):
        alarm.set(now_ms() + whole(ms))

    @action
    def enqueue(self, by=None):
        queue.push("add", whole(by))
        return queue.size()

    @action("incrementOther")
    def increment_other(self, key=None, by=None):
        return actors.call(actors.get_or_create(context.info().name, text(key)), "increment", step(by))

    @action("pushOther")
    def push_other(self, key=None, by=None):
        actors.push(actors.get_or_create(context.info().name, text(key)), "add", whole(by))

    @action
    def connections(self):
        kinds = [connection.kind for connection in connections.entries()]
        return {"clients": kinds.count("client"), "sockets": kinds.count("websocket"), "left": kv.get_json("left", 0)}

    @action
    def me(self):
        kind, id = self.origin
        if kind != "connection":
            return None
        state = connections.get(id).state.decode()
        connections.send_event(id, "you", state)
        return state

    @action
    def setting(self, name=None):
        return config.get(text(name))

    @action
    def info(self):
        info, input = context.info(), context.input()
        return {
            "name": info.name,
            "key": info.key,
            "version": info.version,
            "input": None if input is None else input.decode(),
            "started": self.started,
            "stopped": kv.get_json("stopped"),
            "migratedFrom": kv.get_json("migrated-from"),
            "failed": kv.get_json("failed"),
        }

    @action
    def say(self, line=None):
        log.info(text(line))

    @action
    def nap(self):
        context.sleep()

    @action
    def remove(self):
        context.destroy()

    @queued
    def add(self, by):
        return add(by)

    def connect(self, id, params):
        name = (params or {}).get("name", "nobody")
        if name == "mallory":
            raise Failure("refused", "not you")
        return name

    def disconnect(self, id):
        kv.put_json("left", kv.get_json("left", 0) + 1)

    def open(self, id, request):
        if request.path != "/echo":
            raise Failure("no_such_path", f"there is only /echo, and not {request.path}")
        return bytes([0])

    def receive(self, id, message):
        seen = connections.get(id).state[0] + 1
        connections.set_state(id, bytes([seen]))
        match message:
            case "count":
                connections.send(id, str(seen))
            case "close":
                connections.close(id, 4000, "bye")
            case _:
                connections.send(id, message)

    def http(self, request):
        if request.path != "/":
            return Response(f"there is only /, and not {request.path}", 404)
        return Response({"count": self.get()}) if request.method == "GET" else Response("use GET", 405)

    def start(self, reason):
        self.started = reason
        sql.script("CREATE TABLE IF NOT EXISTS history (id INTEGER PRIMARY KEY, by INTEGER NOT NULL, count INTEGER NOT NULL)")

    def stop(self, reason):
        kv.put_json("stopped", reason)

    def migrate(self, from_version):
        kv.put_json("migrated-from", from_version)

    def alarm(self, scheduled_ms, attempt):
        add(10)


export(Counter)

"""Who this actor is, and what becomes of it after the running handler."""

from wit_world.imports import context as host


def info():
    """Its id, namespace, name, key, generation, version and created_at."""
    return host.info()


def input():
    """The bytes its creator passed; the same at every start."""
    return host.input()


def sleep():
    """Ask to be put to sleep once the running handler has returned. Memory is lost, stored state stays."""
    host.sleep()


def destroy():
    """Ask to be destroyed, stored state and all, once the running handler has returned."""
    host.destroy()


def keep_awake(for_ms):
    """Do not go to sleep for being idle before so much time has passed; 0 takes it back."""
    host.keep_awake(int(for_ms))

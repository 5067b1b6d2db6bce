"""Lines for the actor's own log."""

from wit_world.imports import logging as host


def trace(message):
    host.log(host.Level.TRACE, str(message))


def debug(message):
    host.log(host.Level.DEBUG, str(message))


def info(message):
    host.log(host.Level.INFO, str(message))


def warn(message):
    host.log(host.Level.WARN, str(message))


def error(message):
    host.log(host.Level.ERROR, str(message))

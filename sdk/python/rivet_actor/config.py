"""What the deployment gives its actors: settings and secrets."""

from wit_world.imports import config as host


def get(name):
    return host.get(name)


def names():
    return host.names()

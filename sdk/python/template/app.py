"""An actor that counts. Which handlers it has is said in wit/world.wit."""

from rivet_actor import Actor, Response, action, connections, export, kv


class Counter(Actor):
    @action
    def increment(self, by=1):
        count = self.get() + by
        kv.put_json("count", count)
        connections.broadcast("changed", count)
        return count

    @action
    def get(self):
        return kv.get_json("count", 0)

    def http(self, request):
        return Response(self.get())


export(Counter)

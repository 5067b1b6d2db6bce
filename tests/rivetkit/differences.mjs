// Where this engine is meant to do better than the original 2.3.19: test name -> what the original does.
//
// Against the original these tests run as `todo`: they are expected to fail there and are counted apart. A row
// whose test passes there is reported as out of date, unless it says "sometimes".
export const differences = {
	"a key is taken once": "sometimes answers actor.destroyed_during_creation instead of actor.duplicate_key",
	"20 getOrCreate at once make one actor": "sometimes answers actor.destroyed_during_creation to those that lose the race",
	"a response is streamed: its first part arrives before the last is made": "keeps the whole response back until it is complete",
	"a hibernating socket is closed when its actor is destroyed": "leaves the socket open, and nobody answers it",
	"an awake actor's hibernatable socket is closed when it is destroyed": "leaves the socket open, and nobody answers it",
	"an event reaches a connection whose actor slept in between": "sometimes forgets the connection when something else wakes the actor, and closes it later with guard.websocket_garbage_collected",
	"an alarm that came due while the engine was dead runs soon after its start": "runs it about 26 to 30 s after the start",
	"a sleeping actor, its key and its state survive the engine's death": "wakes it only about 30 s after the engine is back",
	"an actor waits while the runner is full, and starts when there is room": "leaves the actor waiting although a place is free",
	"the close of a client reaches an actor that sleeps": "sometimes does not wake the actor",
	"a stream ends in its handler when the client goes away": "keeps the answer back until it is complete, and does not tell the handler",
	"a handler is told when its client goes away before the answer": "does not tell the handler",
	"the parts of an upload arrive before the last is sent": "keeps the upload back until it is complete",
	"an open stream does not stop other requests, nor sleep": "keeps the answer back until it is complete",
	"70,000 messages over one socket: the index wraps around, across sleeps": "takes about 100 messages a second from a client",
	"20 sockets of one sleeping actor, each with its own order": "sometimes leaves some of the sockets unanswered after the sleep",
	"a socket whose network was cut while its actor slept is forgotten": "does not tell the actor",
	"an engine that is told to stop ends, with requests, streams and sockets open": "is still there a minute later",
	"kill -9 of the app: a hibernatable socket of an awake actor lives on": "sometimes closes it with guard.tunnel_message_timeout",
	"an app whose network is reset: an alarm that came due meanwhile runs once": "sometimes does not wake the actor within a minute",
	"an app whose network is reset: a recurring job is kept": "sometimes does not wake the actor within a minute",
	"an app that freezes for 20 s: a request that was under way is answered or refused": "sometimes leaves the request without an answer",
	"an actor goes on after the engine was killed": "sometimes wakes a sleeping actor only about 30 s after the engine is back",
};

"""Messages in and out by MQTT. Doors: inbox, outbox, reactor, interfaces.

Behind them: `link/` keeps a connection (opening, credentials, keep-alive, paho), `wire/` is the
data plane (PUBLISH and its answers in bulk), `session/` is what the inbox notes of its session, and
`refusal/` what the outbox learns of a broker that doesn't take a message.
"""

"""A worker: one instance of a model, between its two brokers.

    main ─ pipeline ─ a message's way: mqtt ─► execution ─► delivery ─► mqtt
                                                               └─► storage

main               the process, from its start to its clean end
pipeline           a message's way, assembled and drained: start reading here
mqtt               speaks with the brokers; knows none of the other three
execution          calls the model; may import delivery and storage
delivery           sees each message to its end; may import storage
storage            keeps what has to survive the process
durables           what survives, put together: database, crash journal, model state
messages           what travels: messages in columns
properties         what MQTT 5 says of a message, beside topic and payload
invalid_messages   those that can't be taken as they came
memory_budget      how many bytes of messages are held
stats              what is counted: messages, errors, rates, latency
tracer             who wants to know of messages: who looks at samples, OpenTelemetry
wall_clock         the time of day at moments of the clock that messages are timed by
message_spans      spans of messages for OpenTelemetry, and the context that results carry on
silence            what fails without an error: nothing comes in, or nothing comes out
notices            what is to be noticed, and no reason to stop
heartbeat          whether the worker makes progress
condition          how far it has come, and how it does: what it tells whoever asks
readiness          tells the service manager about it, and when the worker is ready

The whole map is docs/architecture.md.
"""

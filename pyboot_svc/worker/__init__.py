"""A worker: one instance of a model, between its two brokers.

    main.py ─ pipeline.py ─ a message's way: mqtt ─► execution ─► delivery ─► mqtt
                                                                     └─► storage

`mqtt/` speaks with the brokers, `execution/` calls the model, `delivery/` sees each message to its
end, `storage/` keeps what has to survive the process. `mqtt` knows none of the others; of them,
`execution` may import `delivery`, and that `storage`. Start reading at pipeline.py; the whole map
is docs/architecture.md.
"""

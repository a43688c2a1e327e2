"""A worker's figures, and how they get to the master.

snapshot         a worker's figures, field by field
meaning          what a field says of itself, for people and for Prometheus
figures          the same fields, as those read them who show them
json_schema      the fields as programs know them before they ask
decoding         the fields again, of what a worker reports, checked
protocol         what is said on the metrics socket
letters          dead letters, as a worker tells of them when it is asked
letter_decoding  what it answers then, checked
tokens           by which workers prove to the master who they are
reporter         the worker's end of it; the master's is `pyboot_svc.master.hub`
"""

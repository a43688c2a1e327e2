"""A worker's figures, and how they get to the master.

snapshot   what a worker tells, field by field; meaning: what a field says of itself
figures    the same, as those read it who show it
protocol   what is said on the socket between them; reporter: the worker's end of it

The master's end is `pyboot_svc.master.hub`.
"""

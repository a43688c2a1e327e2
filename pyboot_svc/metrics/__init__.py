"""A worker's figures, and how they get to the master.

figures    what each one is called and means
protocol   what is said on the socket between them; reporter: the worker's end of it

The master's end is `pyboot_svc.master.hub`.
"""

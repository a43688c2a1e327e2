"""What the sockets between pyboot's processes have in common.

unix    makes a socket in the file system, or takes over one that a dead process left
tcp     the metrics socket over a network, for workers on other hosts
lines   JSON objects as lines: what goes over both
"""

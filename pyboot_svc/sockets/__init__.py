"""What the sockets between pyboot's processes have in common.

unix    a socket in the file system; tcp: one on the network
lines   the JSON lines that go over them
"""

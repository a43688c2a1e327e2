"""How a worker, or the master, does, for whoever asks: service managers, containers, probes.

record   what it tells
server   its health socket, a UNIX socket: whoever connects gets one line of JSON
client   asks at it
loading  the mark of a worker that is loading its model, and may not answer meanwhile
probes   the same over HTTP

systemd doesn't ask: it is told (`pyboot_svc.notify`).
"""

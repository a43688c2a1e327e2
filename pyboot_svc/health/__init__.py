"""How a worker does, for whoever asks: service managers, containers, Kubernetes' probes.

server, client   one line of JSON at a UNIX socket per instance
probes           the same over HTTP

systemd doesn't ask: it is told (`pyboot_svc.notify`).
"""

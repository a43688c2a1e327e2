"""How a worker's figures reach the master: one UNIX socket, JSON lines, asked for by `?`."""

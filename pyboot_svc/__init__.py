"""pyboot runs scientific Python models at the edge: MQTT in, a Python function, MQTT out.

The parts:

cli          the `pyboot` command
config       the configuration: YAML in, immutable records out
environments Python environments of models' own
model        finds the user's function and speaks its language
models       models that come along
worker       one instance of a model, between its two brokers
services     systemd, OpenRC, or processes in the foreground
kubernetes   the configuration as manifests
starter      the master's parts, started in order and stopped in reverse
master       what the master knows of the workers
web          its read-only pages, and Prometheus' figures
metrics      a worker's figures, on their way to the master
health       whether a worker makes progress, for whoever asks
bench        what a model costs

Small things that many of them need:

address      `host:port` as people write it
backoff      how long to wait before the next attempt
errors       every error raised on purpose, with its exit code
forks        ends processes that a model forks where its code does
files        files that are replaced as a whole
identity     what an instance is called
logs         log lines, as text, as JSON or for the journal
notify       tells the service manager how a process does
retry        the exception by which a model asks for another attempt
sockets      the sockets between pyboot's processes
text         text from elsewhere, made fit for people
topics       topics that are filled in for each result
titles       what `ps` shows of a process
threads      threads with a name, whose death is noticed
wakeup       wakes a thread that waits

Imports point one way; the whole map is docs/architecture.md.
"""

from pyboot_svc.retry import Retry

__all__ = ["Retry"]

__version__ = "0.1.0"

# The day of that version's entry in CHANGELOG.md: a clock that tells an earlier time is wrong.
__released__ = "2026-11-27"

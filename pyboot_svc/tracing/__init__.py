"""The way of single messages through a worker, for whoever looks (`pyboot trace`).

wish     what somebody wants to see
server   the worker's trace socket: who connects there is shown messages as they pass
client   looks at it

What is shown are samples: no message waits for somebody who reads slowly. And for OpenTelemetry:

provider   makes spans, if the libraries are there
draw       which messages have spans
span_queue spans on their way to a collector
"""

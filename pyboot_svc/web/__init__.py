"""The master's read-only web, by CherryPy, made of what `pyboot_svc.master.view` gives.

server       the HTTP server below the application
workers      its threads
tls          its certificates
access       who may ask, and by which names
credentials  their passwords and tokens
app          the URLs, and what each of them answers
page         the table at `/`, for a browser
prometheus   the figures in Prometheus' text format, and in OpenMetrics
"""

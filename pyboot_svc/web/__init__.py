"""The master's read-only web, by CherryPy, made of what `pyboot_svc.master.view` gives.

server       the HTTP server below the application
workers      its threads
access       who may ask, and by which names
credentials  their passwords and tokens
app          the URLs, and what each of them answers
openapi      the same for programs: an OpenAPI document
page         `/`, for a browser: a table
static       the scripts that make more of it, their style, and how both are read
prometheus   the figures in Prometheus' text format, and in OpenMetrics
"""

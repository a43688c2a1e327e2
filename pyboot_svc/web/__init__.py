"""The master's read-only web, by CherryPy, made of what `pyboot_svc.master.view` gives.

server       the HTTP server below the application
workers      its threads
app          the URLs, and what each of them answers
page         the table at `/`, for a browser
prometheus   the figures in Prometheus' text format
"""

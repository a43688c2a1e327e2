"""The master's read-only web, by CherryPy: `server`, the URLs in `app`, and what each of them gives
of `pyboot_svc.master.view`: `page` for a browser, `prometheus`."""

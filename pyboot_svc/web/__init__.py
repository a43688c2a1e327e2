"""The master's read-only web, by CherryPy."""

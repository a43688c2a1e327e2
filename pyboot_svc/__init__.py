"""pyboot runs scientific Python models at the edge: MQTT in, a Python function, MQTT out."""

__version__ = "0.1.0"

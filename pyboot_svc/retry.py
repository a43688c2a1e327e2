"""How a model asks for another attempt."""


class Retry(Exception):
    """Raised by a model: the same call may go better in a moment, as `on_error` says."""

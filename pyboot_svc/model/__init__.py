"""Models: finding the Python object that `edge_mode` names, and speaking its language.

loader    from the text of `edge_mode` to one kind of call, with an error for each step
codec     payloads to Python values and back, strictly as JSON
context   what a model may ask about its message and its instance
"""

from pyboot_svc.model.codec import PayloadError, PayloadFault
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model, load_model

__all__ = ["Context", "Model", "PayloadError", "PayloadFault", "load_model"]

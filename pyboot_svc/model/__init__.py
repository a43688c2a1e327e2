"""Models: finding the Python object that `edge_mode` names, and speaking its language.

loader    finds the object, and makes one kind of call of the kinds that it may have
codec     payloads to Python values and back
context   what a model may ask about its message and its instance
"""

from pyboot_svc.model.codec import PayloadError, PayloadFault
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model, load_model

__all__ = ["Context", "Model", "PayloadError", "PayloadFault", "load_model"]

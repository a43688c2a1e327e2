"""Models: finding the Python object that `edge_mode` names, and speaking its language."""

from pyboot_svc.model.codec import PayloadError, PayloadFault
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model, load_model

__all__ = ["Context", "Model", "PayloadError", "PayloadFault", "load_model"]

"""Models: finding the Python object that `edge_mode` names, and speaking its language.

loader      from the text of `edge_mode` to one kind of call, with an error for each step
coroutines  models that are `async def`
fingerprint what a model is made of, by its files
examination whether its code can be loaded at all, by a process of its own
state_use   whether it keeps things in context.state, by its source
codec       payloads to Python values and back, as JSON
formats     other codecs, and compression
sparkplug   one of them: Sparkplug B, with the names that births give to aliases
plain       what JSON can say of the values that scientists return
context     what a model may ask about its message and its instance
secrets     what it may read of files that its edge names
state       what it keeps over restarts, as its calls see it
"""

from pyboot_svc.model.codec import PayloadError, PayloadFault
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model, load_model

__all__ = ["Context", "Model", "PayloadError", "PayloadFault", "load_model"]

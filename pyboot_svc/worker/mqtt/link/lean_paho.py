"""paho's client, without what it takes along for what we don't use.

It imports urllib.request to look for a proxy when it opens a socket, which is our own part. That
brings http and email: more than 3 MB in each worker.
"""

from __future__ import annotations

import sys
from types import ModuleType

_UNUSED = "urllib.request"

if _UNUSED in sys.modules:
    import paho.mqtt.client as client
else:
    sys.modules[_UNUSED] = ModuleType(_UNUSED)
    try:
        import paho.mqtt.client as client
    finally:
        # Whoever imports it from here on gets the real one.
        del sys.modules[_UNUSED]

__all__ = ["client"]

"""The data plane: PUBLISH and its acknowledgements, as bytes.

plane         what both data planes do: bulk_plane: many packets a call, and plain_plane: paho's way
decoder       what arrives; encoder: what is sent; errors: how a connection ends
inflight      what was published and is not known to be safe
send_buffer   bytes on their way to the socket
"""

"""The data plane: PUBLISH and its acknowledgements, as bytes.

plane         what a data plane does; two siblings do it
bulk_plane    moves many packets by one call of the kernel
plain_plane   leaves each packet to paho's public API: the reference
decoder       cuts what arrives into packets
encoder       packets as they are sent
inflight      what was published and not answered yet
send_buffer   what goes out by the socket, whoever wrote it
"""

"""One connection to a broker: opened, served, lost and opened again.

connection         its life, by a thread of its own
opening            name look-up, TCP, TLS and WebSocket under one deadline
peer               whether a certificate is that of a broker named by its address
credentials        reads passwords and certificates from the configured files
paho_client        the control plane, by paho-mqtt, which only this module imports
status             what is known of the connection, said once per change
keepalive          tells the broker that the connection lives
ack_timeout        how long a broker may leave a packet unanswered
linger             whether a read should wait for more messages
websocket_frames   reads WebSocket frames, whatever their size
"""

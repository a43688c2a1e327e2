"""One connection to a broker: opened, served, lost and opened again.

connection        keeps one for ever; life: what outlives one of them; retries: when to try again
opening           the socket, within one deadline; credentials, peer: with what, and with whom
loop              one of them, from the attempt to its end; waiting: what it waits for
linger, pace      whether a read should wait for more messages, and how long
paho_client       CONNECT, SUBSCRIBE and all that is rare; lean_paho: paho, and nothing more
websocket         its handshake, and the socket behind it; websocket_frames: what passes there
keepalive         tells the broker that the connection lives
ack_timeout       how long it may leave an answer out; movement: what else is on its way
status            what is known of the link, and how it is said
"""

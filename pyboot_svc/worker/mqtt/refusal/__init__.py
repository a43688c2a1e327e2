"""What it means that a broker doesn't take a message: for good, for now, or without a word.

refusals         reason codes: for good, or for now
holds            what is refused for now, sent again later and in order
hangups          finds the message that a broker answers by hanging up
unknown_window   how many messages of QoS 2 to send to a broker that can't say how many it takes
"""

"""What is known of the subscriber's session at the broker.

notes      what outlives the process: whether there is one, and what it is subscribed to
retained   tells retained messages that were processed already from new ones
"""

"""What is known of the subscriber's session at the broker.

notes      what outlives the process: whether there is one, and what it is subscribed to
sieve      what keeps messages from the model that are not for it
retained   tells retained messages that were processed already from new ones
partition  tells those of one instance's keys from others'
"""

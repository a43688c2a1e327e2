"""Every end of a message: published, spooled, refused, dead, or nothing to publish; and then its
acknowledgement, in order of arrival.

completion          every end, in one place
post_queue          results that wait to be published
forwarder           what goes out next, and which way: straight, or by the spool
settlement          acknowledges inputs in order of arrival
dead_letters        where messages end that the model can't process
kept_dead_letters   those that are kept locally, the newest
told_dead_letters   what the master is told of them
redrive             takes them in again when asked to
model_state         what a model keeps, committed with the message at hand
"""

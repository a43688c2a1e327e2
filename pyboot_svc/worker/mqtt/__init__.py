"""Messages in and out by MQTT. The rest meets it at five doors.

inbox        takes messages from the pre broker, and acknowledges them there
outbox       publishes to the post broker, in order; and that it is there
guest        connections of those who only look, beside a worker's
reactor      a model thread with nothing to compute serves the connections itself
interfaces   what the wing has in common with those who use it

Behind them:

presence     what an instance says of itself: online, draining, offline
home_assistant  what Home Assistant is to show of its results
link         keeps one connection
wire         the data plane: PUBLISH and its answers, in bulk
session      what the inbox notes of its session at the broker
refusal      what the outbox learns of a broker that doesn't take a message
"""

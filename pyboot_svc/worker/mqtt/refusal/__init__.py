"""What it means that a broker doesn't take a message: for good, for now, or without a word.

objections       all of it, as the outbox meets it
refusals         what a reason code means
holds            what is refused for now: tried again later, in order
hangups          which message a broker hangs up on; sizes: too large ones
unanswered       the same of QoS 0, where no answer tells
lessons          what those teach about others
unwelcome        the same of status messages, which nothing waits for
unknown_window   how many messages of QoS 2 are too many at once
"""

"""What survives the process: one SQLite file that a single thread writes, and what guards it.

database        the file: its tables, its checks, what is saved of a damaged one
writer          the thread that writes it: many messages by one commit
durable_queue   a queue on it; spool: the two that there are, and the room for more
disk_budget     what an instance may take of the disk
watermark       what the last commit held, beside the file; clock: the age of what is in it
claim           an instance is one process at a time
"""

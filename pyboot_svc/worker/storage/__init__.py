"""What survives the process: one SQLite file that a single thread writes, and what guards it.

database        the file: its tables, its checks, what is saved of a damaged one
writer          the thread that writes it: many messages by one commit
durable_queue   what waits in it to be published, in order
row_reader      reads its rows
rows            as the database has them: sizes, reading, deleting
unwritten       rows in memory alone, while the disk can't be written
spool           results and dead letters on disk, and the room for more
disk_budget     what an instance may take of the disk
removal         writes it anew when its files were removed under it
watermark       what the last commit held, noted beside the file
clock           the age of what is in it, by no clock that steps
claim           an instance is one process at a time
"""

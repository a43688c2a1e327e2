"""What survives the process: one SQLite file that a single thread writes, and what guards it."""

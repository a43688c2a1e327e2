"""The model: what waits for it, the threads that call it, and what is known of calls that fail,
hang or kill the process."""

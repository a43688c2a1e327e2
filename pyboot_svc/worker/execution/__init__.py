"""The model: what waits for it, the threads that call it, and what is known of calls that fail,
hang or kill the process.

intake           where messages come in, from the broker or from dead letters
placing          what payloads need to know of those before them, in order of arrival
pre_queue        messages that wait for a model thread
pool             the model threads
model_call       what it takes to call the model, as the edge says
runner           one of them, and the chunk that it works through
call             what a model can ask and say during a call
ticker           calls that are due by time
failure_log      what failures look like in the log, and in a dead letter
crash_journal    what is in hand, in a file that survives the process
stored_in_hand   the same of rows from the disk
poison           messages in hand when the process died, and which of them to give up
"""

"""One instance of a model: inbox, pre_queue, model threads, post_queue, outbox."""

"""`pyboot bench`: what a configured model costs, by the parts that a worker is made of.

subject     the model and the messages that are measured; failures: what fails meanwhile
stages      each stage of a message's way by itself; threads: what more model threads bring
in_memory   the whole pipeline without brokers; ends: its two connections, on sockets in memory
estimate    from what was measured to what a rate of arrival needs
"""

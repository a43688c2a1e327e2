"""`pyboot bench`: what a configured model costs, by the parts that a worker is made of.

subject     the model and the messages that are measured
stages      each stage of a message's way by itself, in one thread
threads     what more model threads bring
in_memory   the whole pipeline, without brokers
ends        a worker's two connections, on sockets in memory
trial       `pyboot try`: what a model makes of messages
cases       `pyboot test`: what has to come out of it
payloads    their values in the formats of the model
failures    what fails meanwhile, told once at the end
estimate    from what was measured to what a rate of arrival needs
"""

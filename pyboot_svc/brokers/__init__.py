"""What the brokers that a configuration names say to it, beside the workers.

audit    `pyboot check --brokers`: what each of them takes, and what its rules refuse
visits   the connections that this takes: one to each end of a model
live     `pyboot try --live`: what arrives at a model's input
"""

"""What the master knows of the workers.

admission    says whose reports are taken
config_file  what the file says now, beside what was applied of it
hub          asks all workers at once, over the metrics socket
peer         a worker's connection to it
history      the last day of all of them, in bounded memory
spread       the same of latency, by how many messages took how long
tiers        how far back that goes, and how finely
load         how many instances a model's input needs
view         puts together what the web shows: their answers, and what their service manager knows
"""

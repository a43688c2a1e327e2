"""Sparkplug B, version 3.0: its payloads, and what the messages of an edge node say of each other.

datatypes  kinds of values, by the numbers that stand for them
wire       the fields of protobuf messages
decoder    payloads to dicts
encoder    dicts to payloads
topic      what a topic says of a message
births     the names that births give to aliases
rebirths   asking edge nodes for their births again
codec      all of it as a codec
"""

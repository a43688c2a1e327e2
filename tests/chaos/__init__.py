"""Faults on purpose: real brokers, real processes, every message counted."""

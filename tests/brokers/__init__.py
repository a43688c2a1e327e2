"""The same worker with brokers of different makers: what docs/brokers.md calls tried here."""

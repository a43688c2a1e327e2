"""What it means that a broker doesn't take a message: for good, for now, or without a word."""

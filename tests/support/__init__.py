"""What the tests share: a real broker, real processes, and polling with a deadline."""

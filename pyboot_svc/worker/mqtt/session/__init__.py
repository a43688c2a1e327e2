"""What is known of the subscriber's session at the broker."""

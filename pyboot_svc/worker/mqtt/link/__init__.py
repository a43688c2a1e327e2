"""One connection to a broker: opened, served, lost and opened again."""

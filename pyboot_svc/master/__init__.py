"""What the master knows: `hub` asks the workers, `view` puts together what the web shows."""

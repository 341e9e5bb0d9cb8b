"""What a worker says to its web UI, the master."""

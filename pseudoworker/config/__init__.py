"""What the administrator wrote: workers.ini, client.conf and pseudoworker.toml, as frozen dataclasses."""

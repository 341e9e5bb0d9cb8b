"""Of the room pseudoworker/openqa."""

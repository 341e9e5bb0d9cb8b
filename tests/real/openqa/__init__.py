"""The room pseudoworker/openqa against real openQA code and instances."""

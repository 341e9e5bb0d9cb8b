"""Programs and helpers that show pseudoworker at work; not part of the installed package."""

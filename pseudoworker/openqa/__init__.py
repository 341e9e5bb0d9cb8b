"""openQA on the wire, in both directions; knows nothing of bridging."""

"""The main job of pseudoworker, shown on two real openQA instances."""

"""pseudoworker: an openQA worker whose jobs run on another openQA instance."""

__version__ = "0.1.0"

"""What can go wrong in the lab, for whoever runs it."""


class LabError(Exception):
    """The lab could not do what it was asked; the text says why and what to do."""

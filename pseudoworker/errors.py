"""The root of all errors that pseudoworker raises on purpose.

* `PseudoworkerError`
    * `ConfigurationError` (config): the administrator's files hold mistakes; all of them are listed.
    * `OpenQAError` (openqa): an openQA instance could not be reached, refused, or answered nonsense.
"""


class PseudoworkerError(Exception):
    """Something went wrong that an administrator can understand: what, where, and what to do."""

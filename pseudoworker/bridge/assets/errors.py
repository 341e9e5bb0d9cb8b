"""What can go wrong with assets.

* `AssetFailure`: the job can not have what it needs; the text is what openQA's worker would write after
  `asset failure: `. Final: asking again will not help.
    * `UnsafeAsset`: a job names an asset by a name that is refused (a path, a control character, …).
    * `NoSpace`: the slave's disk is full, which the next asset would meet as well.
    * `AssetChanged`: the file changed on the sending side while it was being read.
* `TransportRefused`: this way of moving the asset does not work here; another may. Never leaves this package.

Outages of either side are `pseudoworker.openqa.errors.OpenQAError`, as everywhere.
"""

from __future__ import annotations

from pseudoworker.errors import PseudoworkerError


class AssetFailure(PseudoworkerError):
    """A job can not get an asset, or hand one on. The text is the reason after `asset failure: `."""


class UnsafeAsset(AssetFailure):
    """A name from outside is no plain file name; it is used for nothing."""


class NoSpace(AssetFailure):
    """The slave's disk is full."""


class AssetChanged(AssetFailure):
    """The asset is another one than when the transfer began (its size, ETag or modification time changed)."""


class TransportRefused(PseudoworkerError):
    """One transport can not carry this asset, here and now; the text says why.

    `lasting` means that it would be no different for the next asset.
    """

    def __init__(self, text: str, *, lasting: bool = False) -> None:
        super().__init__(text)
        self.lasting = lasting

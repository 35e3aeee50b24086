"""Who issues: records in, HCERTs out, in the name of one DSC."""

from __future__ import annotations

from vaxpass_sign.issuer.columns import ColumnIssuer, IssuedColumns
from vaxpass_sign.issuer.issuer import PROOF_MESSAGE, Issuer

__all__ = ["PROOF_MESSAGE", "ColumnIssuer", "IssuedColumns", "Issuer"]

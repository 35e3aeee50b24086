"""Who issues: records in, HCERTs out, in the name of one DSC."""

from __future__ import annotations

from vaxpass_sign.issuer.columns import ColumnIssuer, IssuedColumns
from vaxpass_sign.issuer.issuer import Issuer

__all__ = ["ColumnIssuer", "IssuedColumns", "Issuer"]

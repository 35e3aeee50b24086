"""The extra ``qr``: present, or one clear error.

>>> require_qr_extra()
"""

from __future__ import annotations

from vaxpass_sign.errors import MissingExtraError

__all__ = ["require_qr_extra"]


def require_qr_extra() -> None:
    """Return when zxing-cpp and pillow can be imported.

    Raises: MissingExtraError, which names the install command.
    """
    try:
        import PIL.Image  # noqa: F401  (both are imported again where they are used)
        import zxingcpp  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("QR pictures", "qr") from error

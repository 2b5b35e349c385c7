"""Certificates of authorities in PEM files, and whether OpenSSL takes them: asked where they are named."""

import re
import ssl

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


def certificates_of(data: bytes) -> list[bytes]:
    """Return the PEM certificates of a file's content, and nothing else of it."""
    return _CERTIFICATE.findall(data)


def problem_in_roots(data: bytes) -> str | None:
    """Return why a file's certificates cannot be trusted, as OpenSSL says it, or None."""
    found = certificates_of(data)
    if not found:
        return "it holds no whole certificate"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for number, block in enumerate(found, 1):
        try:
            context.load_verify_locations(cadata=block.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            return f"OpenSSL does not take certificate {number} in it ({getattr(error, 'reason', None) or error})"
    return None

"""URLs that are posted to: what is wrong with one is said when the configuration is read."""

from urllib.parse import urlsplit


def check_url(url: str) -> str | None:
    """Return what is wrong with a URL that is to be posted to, or None."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    if not url.isascii() or not url.isprintable() or " " in url:
        return "a URL has printable ASCII characters only"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "is no http:// or https:// URL"
    if parts.username is not None or parts.fragment:
        return "a URL here has no user and no fragment"
    return None

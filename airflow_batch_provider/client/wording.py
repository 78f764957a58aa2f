"""The service's own words, fit for a log: one readable line without what may be a request."""

from __future__ import annotations

import re

MAX_MESSAGE = 300
MAX_CODE = 64
HIDDEN = "its text is not shown, because it may quote requests"
# More is not looked at: taking tags out of a page costs the square of its length.
_MAX_SCANNED = 10_000


def shorten(message: str) -> str:
    """
    Make one readable line. What follows a brace or bracket may be a quoted request, and prompts stay out of logs.

    :param message: What the service says.
    :returns: At most ``MAX_MESSAGE`` characters; empty when nothing of it may be shown.
    """
    text = re.sub(r"(?is)<(script|style)\b.*?</\1\s*>", " ", message[:_MAX_SCANNED])
    text = re.sub(r"<[^>]*>", " ", text)
    text = re.split(r"failing (?:line|chunk):|[{\[]", text, maxsplit=1)[0]
    text = " ".join(text.split()).encode(errors="replace").decode()  # half a surrogate pair cannot be logged
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"

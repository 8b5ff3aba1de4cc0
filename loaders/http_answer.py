"""What an HTTP answer means for a download: go on, try again, or give this mirror up (RFC 9110)."""

from __future__ import annotations

import email.utils
import re
import time
import urllib.error
import urllib.request
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

_DIGITS = 18  # of a length: beyond any file, and Python converts no more than some thousand
_LATER = (408, 425, 429, 500, 502, 503, 504)  # answers that may be another one soon


class Refused(Exception):
    """This mirror will not do; the message says why."""


class Dropped(Exception):
    """This try failed and another may not.

    Attributes:
        after: the pause that the server asks for, in seconds.
        anew: whether what came so far is no good.
    """

    def __init__(self, why: str, after: float = 0.0, anew: bool = False) -> None:
        super().__init__(why)
        self.after = after
        self.anew = anew


def judged(error: urllib.error.HTTPError, longest: float) -> Refused | Dropped:
    """What an answer that is no file means; a pause of more than `longest` seconds is not waited for."""
    said = f"it answers {error.code} {error.reason}"
    if error.code == 416:
        return Dropped("it has no such range: the file is another one now", anew=True)
    if 300 <= error.code < 400:
        return Refused("it leads in a circle, or on and on")
    if error.code not in _LATER:
        return Refused(said)
    after = seconds(error.headers.get("Retry-After", ""))
    if after > longest:
        return Refused(f"{said}, and asks to come back in {after:.0f} s")
    return Dropped(said, after)


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, never from https to http."""

    def __init__(self, most: int) -> None:
        self.max_redirections = most  # type: ignore[misc]  # the class has the default
        self.max_repeats = most  # type: ignore[misc]

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """The next request."""
        after = urlsplit(newurl).scheme
        if after not in ("http", "https") or (urlsplit(req.full_url).scheme, after) == ("https", "http"):
            raise Refused(f"it leads from {urlsplit(req.full_url).scheme} to {after}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def strong_version(headers: Message) -> str:
    """What If-Range may bear: a strong ETag, else the date of the last change, else nothing."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def length(text: str | None) -> int | None:
    """The number of bytes that a header tells; None where it tells none."""
    return int(text) if text is not None and text.isdecimal() and len(text) <= _DIGITS else None


def content_range(text: str) -> tuple[int, int | None]:
    """The first byte and the length of the whole file in a Content-Range; -1 where it is none."""
    found = re.fullmatch(rf"bytes (\d{{1,{_DIGITS}}})-\d+/(\d+|\*)", text.strip())
    return (-1, None) if found is None else (int(found[1]), length(found[2]))


def seconds(text: str) -> float:
    """How long a Retry-After asks to wait: seconds, or until a date; 0 where it says neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0

"""A web server on this machine that can do to a download what servers do."""

import contextlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Answer:
    """What the server does when asked for one path."""

    body: bytes = b""
    etag: str = '"one"'
    modified: str = ""
    ranges: bool = True  # whether Range is honoured
    if_range: bool = True  # whether If-Range is
    drops: list[int] = field(default_factory=list)  # bytes after which the next requests break off
    first: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # status and headers of the next answers
    longer: int = 0  # how much the declared length is too long
    declared: bool = True  # whether a length is declared
    kind: str = "application/zip"
    packed: str = ""
    pause: float = 0.0  # seconds before every byte
    total: str = ""  # in place of the length in Content-Range
    then: bytes | None = None  # what the file is after the first request


class Mirror:
    def __init__(self):
        self.answers = {}
        self.asked = []  # path and headers of every request
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                mirror.asked.append((self.path, dict(self.headers)))
                self.close_connection = True
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    mirror.give(self, mirror.answers.get(self.path))

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def serve(self, path, body=b"", **more):
        self.answers[path] = Answer(body, **more)
        return self.address + path

    def ranges(self, path=None):
        return [headers.get("Range") for asked, headers in self.asked if path in (None, asked)]

    def give(self, handler, answer):
        if answer is None:
            handler.send_response(404)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if answer.first:
            status, headers = answer.first.pop(0)
            handler.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            return
        start = self.start(handler, answer)
        if start is not None and start >= len(answer.body):
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self.head(handler, answer, start)
        self.send(handler, answer, answer.body[start or 0 :])
        if answer.then is not None:
            answer.body, answer.then, answer.etag = answer.then, None, '"two"'

    def start(self, handler, answer):
        asked = handler.headers.get("Range")
        condition = handler.headers.get("If-Range")
        if asked is None or not answer.ranges:
            return None
        if answer.if_range and condition not in (None, answer.etag, answer.modified):
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def head(self, handler, answer, start):
        whole = len(answer.body)
        handler.send_response(200 if start is None else 206)
        handler.send_header("Content-Type", answer.kind)
        if answer.declared:
            handler.send_header("Content-Length", str(whole - (start or 0) + answer.longer))
        if start is not None:
            handler.send_header("Content-Range", f"bytes {start}-{whole - 1}/{answer.total or whole}")
        for name, value in (("ETag", answer.etag), ("Last-Modified", answer.modified)):
            if value:
                handler.send_header(name, value)
        if answer.packed:
            handler.send_header("Content-Encoding", answer.packed)
        handler.end_headers()

    def send(self, handler, answer, body):
        if answer.drops:
            body = body[: answer.drops.pop(0)]
        if not answer.pause:
            handler.wfile.write(body)
        else:
            for at in range(len(body)):
                handler.wfile.write(body[at : at + 1])
                time.sleep(answer.pause)
        handler.wfile.flush()


@pytest.fixture
def mirror():
    made = Mirror()
    yield made
    made.server.shutdown()
    made.server.server_close()

"""A camera with a web page, for tests: sends Motion JPEG to whoever asks. Ends by itself.

    python mjpeg_server.py PORT [WIDTH,HEIGHT,FRAMES ...]

Each WIDTH,HEIGHT,FRAMES is a stretch of frames of one size; the last one goes on for ever if FRAMES is 0. Frame number
n is all of brightness n modulo 200. A path that ends in `/bare` leaves the parts' lengths out; `/page` is no stream;
`/secret` wants the user `me` with the password `hidden`; `/film` sends the file that the variable FILM names.
"""

from __future__ import annotations

import base64
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

SECONDS_TO_LIVE = 60
INTERVAL = 0.02
KEY = "Basic " + base64.b64encode(b"me:hidden").decode()


def jpeg(number: int, size_wh: tuple[int, int]) -> bytes:
    frame = np.full((size_wh[1], size_wh[0], 3), number % 200, np.uint8)
    return cv2.imencode(".jpg", frame)[1].tobytes()


class Handler(BaseHTTPRequestHandler):
    stretches: list[tuple[int, int, int]]

    def log_message(self, *arguments: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        if self.path == "/page":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<p>a camera</p>")
            return
        if self.path == "/film":
            self.send_response(200)
            self.send_header("Content-Type", "video/x-msvideo")
            self.end_headers()
            with open(os.environ["FILM"], "rb") as film:
                self.wfile.write(film.read())
            return
        if self.path.startswith("/secret") and self.headers.get("Authorization") != KEY:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", 'multipart/x-mixed-replace; boundary="--frame"')
        self.end_headers()
        number = 0
        try:
            for width, height, count in self.stretches:
                sent = 0
                while not count or sent < count:
                    content = jpeg(number, (width, height))
                    length = b"" if self.path.endswith("/bare") else b"Content-Length: %d\r\n" % len(content)
                    self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + content + b"\r\n")
                    sent, number = sent + 1, number + 1
                    time.sleep(INTERVAL)
        except OSError:
            pass


def main() -> None:
    port, *stretches = sys.argv[1:]
    Handler.stretches = [tuple(map(int, each.split(","))) for each in stretches or ["64,48,0"]]  # type: ignore[misc]
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.daemon_threads = True
    threading.Timer(SECONDS_TO_LIVE, os._exit, [0]).start()
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

"""A camera that speaks RTSP (RFC 2326), for tests: JPEGs over RTP (RFC 2435) in the one connection. Ends by itself.

    python rtsp_server.py PORT [WIDTH,HEIGHT,FRAMES]

Frame number n is all of brightness n modulo 200; FRAMES of them come, or 0 for no end. Sides are multiples of 8.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time

import cv2
import numpy as np

SECONDS_TO_LIVE = 60
RATE = 50
CLOCK = 90_000
LARGEST_PART = 1400
SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 127.0.0.1
t=0 0
m=video 0 RTP/AVP 26
a=rtpmap:26 JPEG/90000
a=control:track1
""".replace("\n", "\r\n")


def segments(jpeg: bytes) -> tuple[bytes, bytes]:
    """The quantisation tables and the compressed picture of a JPEG with the usual Huffman tables."""
    tables, place = b"", 2
    while True:
        marker, length = struct.unpack(">HH", jpeg[place : place + 4])
        content = jpeg[place + 4 : place + 2 + length]
        if marker == 0xFFDB:
            tables += b"".join(content[start + 1 : start + 65] for start in range(0, len(content), 65))
        place += 2 + length
        if marker == 0xFFDA:
            return tables, jpeg[place:-2]


def packets(number: int, size_wh: tuple[int, int]) -> list[bytes]:
    """One frame as RTP packets, each with the header that interleaves it with RTSP."""
    frame = np.full((size_wh[1], size_wh[0], 3), number % 200, np.uint8)
    tables, scan = segments(cv2.imencode(".jpg", frame)[1].tobytes())
    made = []
    for offset in range(0, len(scan), LARGEST_PART):
        part = scan[offset : offset + LARGEST_PART]
        last = offset + LARGEST_PART >= len(scan)
        sequence = (number * 100 + offset // LARGEST_PART) & 0xFFFF
        rtp = struct.pack(">BBHII", 0x80, 26 | (0x80 if last else 0), sequence, number * CLOCK // RATE, 7)
        # 4:2:0, with tables of its own.
        header = struct.pack(">IBBBB", offset, 1, 255, size_wh[0] // 8, size_wh[1] // 8)
        own = struct.pack(">BBH", 0, 0, len(tables)) + tables if offset == 0 else b""
        packet = rtp + header + own + part
        made.append(b"$" + struct.pack(">BH", 0, len(packet)) + packet)
    return made


def play(connection: socket.socket, size_wh: tuple[int, int], count: int) -> None:
    number = 0
    try:
        while not count or number < count:
            connection.sendall(b"".join(packets(number, size_wh)))
            number += 1
            time.sleep(1 / RATE)
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def serve(connection: socket.socket, size_wh: tuple[int, int], count: int) -> None:
    stream = connection.makefile("rb")
    while line := stream.readline():
        if line.startswith(b"$") or not line.strip():
            continue
        method = line.split()[0].decode()
        headers = {}
        while (header := stream.readline().strip()) and b":" in header:
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        more, body = "", ""
        if method == "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = SDP
            more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "PLAY":
            more = "Session: 1\r\n"
        connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {headers.get('cseq', '0')}\r\n{more}\r\n{body}".encode())
        if method == "PLAY":
            threading.Thread(target=play, args=(connection, size_wh, count), daemon=True).start()
        elif method == "TEARDOWN":
            return


def main() -> None:
    port, stretch = (*sys.argv[1:], "64,48,0")[:2]
    width, height, count = map(int, stretch.split(","))
    threading.Timer(SECONDS_TO_LIVE, os._exit, [0]).start()
    with socket.create_server(("127.0.0.1", int(port))) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection, (width, height), count), daemon=True).start()


if __name__ == "__main__":
    main()

"""
A server that answers every GET with one file and does nothing else: the floor below which no client can go.

Prints its URL. ``--chunked`` sends the file without a length, as a gateway does; ``--tls`` encrypts.
"""

from __future__ import annotations

import argparse
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = 64 * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--chunked", action="store_true")
    parser.add_argument("--tls", type=Path, metavar="PEM", help="certificate and key in one file")
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if options.tls else None
    if context:
        context.load_cert_chain(options.tls)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        scheme = "https" if context else "http"
        print(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
        while True:
            connection, _ = listener.accept()
            with (
                suppress(OSError),
                context.wrap_socket(connection, server_side=True) if context else connection as peer,
            ):
                answer(peer, options.file, is_chunked=options.chunked)


def answer(peer: socket.socket, path: Path, *, is_chunked: bool) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        piece = peer.recv(PIECE_BYTES)
        if not piece:
            return
        request += piece
    size = path.stat().st_size
    length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % size
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n" + length + b"\r\n\r\n")
    with path.open("rb", buffering=0) as file:
        if is_chunked:
            send_chunked(peer, file)
        elif isinstance(peer, ssl.SSLSocket):
            while piece := file.read(4 * PIECE_BYTES):
                peer.sendall(piece)
        else:
            offset = 0
            while offset < size:
                offset += os.sendfile(peer.fileno(), file.fileno(), offset, size - offset)


def send_chunked(peer: socket.socket, file: BinaryIO) -> None:
    while piece := file.read(PIECE_BYTES):
        peer.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
    peer.sendall(b"0\r\n\r\n")


if __name__ == "__main__":
    main()

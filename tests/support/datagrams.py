"""Datagrams that a process has sent."""

import socket


def received_by(server: socket.socket) -> list[bytes]:
    """Return all datagrams of a process that has ended."""
    server.setblocking(False)
    datagrams = []
    while True:
        try:
            datagrams.append(server.recv(65536))
        except BlockingIOError:
            return datagrams

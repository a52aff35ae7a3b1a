"""Take the network from a process; standard library only, because it runs inside kernels.

A notebook needs no other machine: all its data come with the packages. `install` makes Python
refuse every use of the network from then on, and say so on stderr, so that a cell that catches
the error is noticed all the same. A kernel's own channels are not made by Python's sockets.
"""

import socket
import sys

__all__ = ["NetworkRefused", "install"]

_EVENTS = {
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyaddr",
    "socket.gethostbyname",
    "socket.sendmsg",
    "socket.sendto",
}


class NetworkRefused(OSError):
    """What a use of the network raises."""


def install() -> None:
    """Refuse the network to this process, for good: an audit hook cannot be taken away."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple) -> None:
    if event in _EVENTS and not _is_local(arguments[0]):
        shown = [part for part in arguments if not isinstance(part, socket.SocketType)]
        message = f"{event}{tuple(shown)}: a notebook may not use the network"
        print(message, file=sys.stderr)
        raise NetworkRefused(message)


def _is_local(sock: object) -> bool:
    """Say whether this is a socket between processes of this machine, which has no address."""
    unix = getattr(socket, "AF_UNIX", None)
    return isinstance(sock, socket.SocketType) and sock.family == unix

"""Python imports this by itself at its start, in a process that is watched: every wish for a network is written down.

The log's path stands in `OFFLINE_LOG`. What is not AF_UNIX is refused; with `OFFLINE_LOOPBACK` this machine's own
address is only written down. Not a part of the package: its folder is put on PYTHONPATH.
"""

import os
import sys

_NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
_PLACES = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg")
_LOOPBACK = ("127.0.0.1", "localhost")


def _watch(event: str, args: tuple) -> None:
    if event in _NAMES:
        _judge(event, args[0])
    elif event in _PLACES and not isinstance(args[1], (str, bytes, type(None))):  # a path is AF_UNIX's
        _judge(event, args[1][0])
    elif event == "urllib.Request" and not str(args[0]).startswith("http://127.0.0.1:"):
        _judge(event, args[0])


def _judge(event: str, place: object) -> None:
    with open(os.environ["OFFLINE_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{event} {place} {_program()}\n")
    if not (os.environ.get("OFFLINE_LOOPBACK") and place in _LOOPBACK):
        raise PermissionError(f"{event} {place}")


def _program() -> str:
    """What the process was started as."""
    return " ".join(sys.orig_argv[1:3])


sys.addaudithook(_watch)

"""serve: single leads over HTTP by the compiled scorer of Production, without Spark."""

import signal
import socket
import threading
from contextlib import nullcontext
from typing import Annotated

import typer
import uvicorn

from pipelines.commands import run_command
from pipelines.settings import Settings
from pipelines.tracking import connect
from serving.errors import Away
from serving.online import Online, app, ready
from serving.queries import parse_trigger
from serving.registry import PRODUCTION, ResolvedVersion, resolve
from serving.runtime.endpoints import HOST, PortTaken
from serving.runtime.journal import Journal, LogTo
from serving.runtime.watch import Watch, await_server

PORT = 5001
# How long requests may still take after SIGTERM; a body that does not arrive is given up sooner (serving.online).
GRACE_S = 10


def serve(
    version: Annotated[str, typer.Option(help="an alias, which is watched, or the number of a version")] = PRODUCTION,
    port: Annotated[int, typer.Option(min=0, max=65535, help="where to listen; 0 takes a free port")] = PORT,
    host: Annotated[str, typer.Option(help="address to listen on")] = HOST,
    poll: Annotated[str, typer.Option(help="how often the alias is looked at")] = "5 seconds",
    registry_wait: Annotated[
        str, typer.Option(help="how long to wait for the registry and the artifact store at the start")
    ] = "1 minute",
    log: Annotated[LogTo, typer.Option(help="where the lines of the log go")] = LogTo.STDOUT,
) -> None:
    """Answer POST /score until SIGTERM or Ctrl-C; a promotion takes effect without a restart."""
    settings, journal = Settings(), Journal.to(log)
    every, longest = parse_trigger(poll, "poll") / 1000, parse_trigger(registry_wait, "registry_wait") / 1000

    def named() -> ResolvedVersion:
        return resolve(connect(settings), settings.model_name, version)

    with _listening(host, port) as listening:
        never = threading.Event()
        named_first = await_server(named, longest, journal.say, never)
        first = await_server(lambda: ready(named_first), longest, journal.say, never, Away)
        watch = None
        if not version.isdecimal():
            watch = Watch(named, lambda found: ready(found, first.work), first.version, every, journal.say)
        online = Online(first, settings.contract(), watch, journal.say)
        place = listening.getsockname()
        journal.say("started", version=first.version.version, url=f"http://{place[0]}:{place[1]}/score")
        quiet = uvicorn.Config(app(online), log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S)
        # uvicorn ends in good order, and then raises the signal once more.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        with watch or nullcontext():
            uvicorn.Server(quiet).run(sockets=[listening])
        journal.say("ended")


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens; PortTaken where it cannot."""
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise PortTaken(f"{host}:{port} cannot be listened on ({error.strerror}); name another port.") from None
    # Connections inherit it. asyncio sets it on sockets that name their protocol, which this one does not; without it
    # the end of an answer waits 40 ms for the client to acknowledge its beginning.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


if __name__ == "__main__":
    run_command(serve)

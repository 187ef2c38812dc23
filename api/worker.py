"""One worker of the service: `python -m api.worker`, started by the supervisor on a socket that it already
listens on.
"""

import argparse
import gc
import logging
import os
import socket
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM, then finish what is under way."""
    parser = argparse.ArgumentParser(prog="python -m api.worker", description=main.__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--log-url", required=True)
    parser.add_argument("--keys-required", action="store_true", help="other machines can reach the socket")
    parser.add_argument("--access-log", action="store_true", help="a line for every request")
    parser.add_argument("--fd", type=int, required=True, help="the listening socket, inherited")
    options = parser.parse_args(arguments)

    import uvicorn

    from api.app import create_app
    from api.connection import Connection
    from api.hot import Edge
    from api.settings import ServiceSettings, read_secret, worker_ready_file
    from api.spans import open_spans
    from api.talk import configure_logs

    configure_logs()
    metrics_folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    settings = ServiceSettings(
        home=options.home,
        log_url=options.log_url,
        secret=read_secret(options.home),
        keys_required=options.keys_required,
        access_log=options.access_log,
        ready_file=worker_ready_file(options.home, os.getpid()),
        metrics_folder=Path(metrics_folder) if metrics_folder else None,
    )
    app = create_app(settings, open_spans(os.environ))
    # What is imported by now stays: the collector need not look at it again and again, nor after every few requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Connection,
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level=logging.WARNING,
        server_header=False,
        proxy_headers=False,  # nobody stands in front yet, so nobody may say who the client is
        timeout_graceful_shutdown=10,
        timeout_keep_alive=75,
    )
    listening = socket.socket(fileno=options.fd)
    listening.setblocking(False)
    Connection.listening = listening
    Connection.direct = app.direct if isinstance(app, Edge) else None  # what is traced goes the common way
    uvicorn.Server(config).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tbscreen_gateway`: serves HTTP until SIGTERM or SIGINT."""

import socket
import sys

import uvicorn

from tbscreen_gateway.app import create_app
from tbscreen_gateway.connection_limits import ConnectionLimits
from tbscreen_gateway.connections import limited_protocol
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.waiting import FinishedJobs
from tbscreen_shared.access import KeyFileError, NoKeyError
from tbscreen_shared.logging import configure_logging
from tbscreen_shared.settings import load_settings


class GatewayServer(uvicorn.Server):
    """Answers the requests it holds for unfinished jobs before it waits for them to end."""

    def __init__(self, config: uvicorn.Config, finished: FinishedJobs) -> None:
        super().__init__(config)
        self._finished = finished

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops accepting, answers, and ends."""
        self._finished.release()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            # Who reads nothing would hold the process up until it is killed.
            if connection.transport.get_write_buffer_size():
                connection.transport.abort()


def main() -> int:
    """Returns the process's exit status; 2 where settings are wrong, or a key is wanting."""
    settings = load_settings(GatewaySettings, program="tbscreen_gateway")
    configure_logging("gateway", log_format=settings.log_format, level=settings.log_level)
    try:
        app = create_app(settings)
    except (NoKeyError, KeyFileError) as error:
        sys.stderr.write(f"tbscreen_gateway: {error}\n")
        return 2
    limits = ConnectionLimits(settings.max_connections, settings.trusted_proxies)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        http=limited_protocol(limits),
        ws="none",
        timeout_graceful_shutdown=settings.shutdown_grace_s,
        reset_contextvars=True,
    )
    GatewayServer(config, app.state.finished).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The application factory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from tbscreen_gateway.access.browsers import BrowserGuard, known_hosts
from tbscreen_gateway.access.opening import open_access
from tbscreen_gateway.health import VERSION
from tbscreen_gateway.metrics import Metrics
from tbscreen_gateway.observation import RequestObserver
from tbscreen_gateway.openapi import DescribedApp
from tbscreen_gateway.problems import install_problem_handlers
from tbscreen_gateway.routes import (
    batches,
    callbacks,
    dead_jobs,
    health,
    jobs,
    models,
    pages,
    predict,
    session,
)
from tbscreen_gateway.services import LifespanState, running_services
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_gateway.waiting import FinishedJobs

_DESCRIPTION: Final = """Reads chest radiographs for signs of tuberculosis: submit one, get a job, \
look it up.

Requests carry an API key, Authorization: Bearer tbs_…, unless the operator lets everybody in.

Errors are application/problem+json (RFC 9457) with a stable code. Research tool, not a medical \
device."""


def create_app(settings: GatewaySettings) -> FastAPI:
    """Builds the gateway. Connections are made when its lifespan starts.

    `app.state.finished` is the application's `FinishedJobs`; whoever stops the server releases it
    first, so that held requests are answered instead of cut.

    Raises:
        NoKeyError: requests need an API key, and none is valid.
        KeyFileError: the file of API keys can not be read.
    """
    access = open_access(settings)
    metrics = Metrics()
    finished = FinishedJobs(settings.redis_url.get_secret_value())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[LifespanState]:
        async with running_services(settings, metrics, finished, access) as services:
            yield {"services": services}

    app = DescribedApp(
        title="tbscreen",
        version=VERSION,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.finished = finished
    app.add_middleware(BrowserGuard, hosts=known_hosts(settings))
    app.add_middleware(RequestObserver, metrics=metrics)
    install_problem_handlers(app)
    for module in (
        *(jobs, dead_jobs, callbacks, batches, predict),
        *(models, session, health, pages),
    ):
        app.include_router(module.router)
    app.mount("/static", pages.Assets(directory=pages.STATIC_DIR), name="static")
    return app

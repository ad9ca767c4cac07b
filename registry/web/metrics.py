"""The figures for Prometheus, on an address of their own: nobody else is to ask for them."""

from __future__ import annotations

from aiohttp import hdrs, web

from registry.metrics import StoreMetrics


def metrics_application(metrics: StoreMetrics) -> web.Application:
    """Return an application that answers `GET /metrics`."""

    async def answer(request: web.Request) -> web.Response:
        body, content_type = metrics.exposition(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    application = web.Application()
    application.router.add_get("/metrics", answer)
    return application

"""What Airflow itself learns from Peel: a way from its menu to the draft that the last night made.

The drafts are served by Airflow's API server to whoever is logged in to Airflow, and to nobody else: a draft
is not published. Nothing heavy is imported until the first page is asked for, because every process of
Airflow loads its plugins.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/peel/drafts"


@cache
def _application() -> Any:
    from airflow.api_fastapi.core_api.security import requires_authenticated
    from fastapi import Depends, FastAPI, HTTPException, Request, Response
    from fastapi.staticfiles import StaticFiles

    from peel import settings

    application = FastAPI(title="Peel drafts", docs_url=None, redoc_url=None, openapi_url=None)
    folder = settings.load().drafts

    async def draft(path: str, request: Request) -> Response:
        if not folder.is_dir():
            raise HTTPException(404, "No draft has been made yet.")
        return await StaticFiles(directory=folder, html=True).get_response(path, request.scope)

    # FastAPI reads a route's types by evaluating them, and these names are only known in here
    draft.__annotations__ = {"path": str, "request": Request, "return": Response}
    application.get("/{path:path}", dependencies=[Depends(requires_authenticated())], response_model=None)(draft)
    return application


async def drafts(scope: Any, receive: Any, send: Any) -> None:
    """Serve the drafts (ASGI)."""
    await _application()(scope, receive, send)


class PeelPlugin(AirflowPlugin):
    """Peel in Airflow's menu."""

    name = "peel"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [{"app": drafts, "url_prefix": PREFIX, "name": "Peel drafts"}]
    external_views: ClassVar[list[dict[str, Any]]] = [
        {"name": "Draft release", "href": f"{PREFIX}/latest/", "destination": "nav", "category": "browse"}
    ]

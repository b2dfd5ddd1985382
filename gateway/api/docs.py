"""``/docs``: the API's operations, shown by Swagger UI from this process's own address.

FastAPI's page loads a floating version of the script from a third party's host. Here the files are those of an
installed, locked package; the page works without internet, and its policy allows no other origin.
"""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

from gateway.web.page import headers, policy

_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_START = """
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Notification gateway: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""


def router() -> APIRouter:
    """The page's routes; its files are read once, here."""
    docs = APIRouter(include_in_schema=False)
    folder = resources.files("fastapi_swagger.resources")
    files = {name: (folder.joinpath(name).read_bytes(), kind) for name, kind in _ASSETS.items()}
    files["start.js"] = (_START.encode(), "text/javascript")
    # Swagger UI has its icons as data: URLs.
    allowed = policy(script_src="'self'", style_src="'self'", connect_src="'self'", img_src="'self' data:")

    @docs.get("/docs")
    async def show_docs() -> Response:
        return Response(_PAGE, 200, headers(allowed), "text/html")

    @docs.get("/docs/{name}")
    async def show_asset(name: str) -> Response:
        if name not in files:
            return Response(status_code=404)
        content, kind = files[name]
        return Response(content, 200, {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}, kind)

    return docs

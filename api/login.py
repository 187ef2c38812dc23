"""Signing in to the dashboard: a key becomes a cookie that no script can read and no other site can use."""

from html import escape
from urllib.parse import parse_qs, quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from api.door import COOKIE, SESSION_S, Door, refuse_foreign_origin
from api.heads import peer_of
from api.pages import page
from api.problems import Problem

_FORM_BYTES_MAX = 4_096


def add_login_routes(app: FastAPI, door: Door) -> None:
    """`/login` and `/logout`."""

    @app.get("/login", name="login", include_in_schema=False)
    async def login(request: Request) -> Response:
        if not door.locked:
            return RedirectResponse("/", 303)
        return _form(_next(request.query_params.get("next", "")))

    @app.post("/login", name="login", include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        refuse_foreign_origin(dict(request.scope["headers"]))
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _FORM_BYTES_MAX:
                raise Problem("body_too_large")
        fields = parse_qs(body.decode("latin-1"), max_num_fields=8)
        wanted = _next(fields.get("next", [""])[0])
        try:
            cookie = door.open_session(fields.get("key", [""])[0], peer_of(request.scope))
        except Problem as problem:
            return _form(wanted, problem)
        response = RedirectResponse(wanted, 303)
        response.set_cookie(COOKIE, cookie, max_age=SESSION_S, httponly=True, samesite="strict", path="/")
        return response

    @app.post("/logout", name="logout", include_in_schema=False)
    async def sign_out() -> Response:
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
        return response


def _next(text: str) -> str:
    """An address of our own to go to: never another site's."""
    return quote(text, safe="/-._~") if text.startswith("/") and not text.startswith(("//", "/\\")) else "/"


def _form(wanted: str, problem: Problem | None = None) -> Response:
    told = f'<p class="red" role="alert">{escape(problem.detail)} {escape(problem.kind.cure)}</p>' if problem else ""
    body = (
        f'{told}<form method="post" action="/login"><p><label>Key with the scope <code>operate</code><br>'
        f'<input name="key" type="password" required autofocus size="60" autocomplete="current-password"></label></p>'
        f'<input type="hidden" name="next" value="{escape(wanted)}"><p><button>Sign in</button></p></form>'
        f"<p><code>perennial keys create NAME --scope operate</code> makes one.</p>"
    )
    return page("Sign in", body, status=problem.status if problem else 200)

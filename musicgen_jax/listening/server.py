"""Serves a study over HTTP: the page, the sounds of a listener's own pages, and the place where answers are stored.

Who has the link of a listener can hear that listener's pages and answer them, once each and in order; there is nothing
else to be had. Sounds are known by the numbers of page and slot, so that no path of a request reaches the disk. Ranges
are not served: whoever asks for one gets the whole file.
"""

import asyncio
import contextlib
import http
import pathlib
import sys
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from musicgen_jax.listening import answers, group_commit, study
from musicgen_jax.listening.storage import Database, Listener, StoredAnswer
from musicgen_jax.runtime.errors import UserError

CHUNK_BYTES = 1 << 18
MEMORY_BYTES = 256 << 20  # of sounds that were read already
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",  # the address is the listener's secret
    "x-content-type-options": "nosniff",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class _Attendance:
    """A listener who takes part: which pages are answered."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.answers: dict[int, dict[str, Any]] = {}
        self.lock = asyncio.Lock()  # one answer after the other

    @property
    def next_page(self) -> int:
        return len(self.answers)  # they are answered in order


class _SafeHeaders:
    """Adds HEADERS to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += _HEADERS
            await send(message)

        await self._app(scope, receive, send_safely if scope["type"] == "http" else send)


class _Study:
    """The study that is served."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self.study = study.read(folder)
        self._files, self._sounds = self.study.files(), _Sounds()
        self._database = Database(folder)
        self._writer = group_commit.GroupCommit(self._database)
        listeners = [_Attendance(listener) for listener in self._database.listeners()]
        for row in self._database.answers():
            listeners[row.listener].answers[row.page] = row.answer
        self._listeners = {one.listener.token: one for one in listeners}
        self._assets = _assets()

    def close(self) -> None:
        self._database.close()

    async def page(self, request: Request) -> Response:
        """The HTML of a listener's link."""
        self._attendance(request)
        return self._asset("index.html")

    async def asset(self, request: Request) -> Response:
        """A module or style sheet of the page, of those that there are."""
        return self._asset(request.path_params["name"])

    async def session(self, request: Request) -> Response:
        """What the page needs to know: never which system is which."""
        one = self._attendance(request)
        found = self.study
        pages = answers.describe(found, one.listener.pages)
        told = {"title": found.title, "design": found.design, "consent": found.consent, "sampleRate": found.sample_rate}
        return JSONResponse(told | {"pages": pages, "next": one.next_page})

    async def audio(self, request: Request) -> Response:
        """A sound of one of the listener's pages."""
        one = self._attendance(request)
        page, slot = (_number(request, name) for name in ("page", "slot"))
        pages = one.listener.pages
        ids = (*pages[page].slots, *pages[page].given) if page < len(pages) else ()
        if slot >= len(ids):
            raise HTTPException(http.HTTPStatus.NOT_FOUND)
        return _Sound(await self._sounds.read(self._folder / self._files[ids[slot]]))

    async def answer(self, request: Request) -> Response:
        """Stores the answer to a page; a reply of 200 means that it is on disk."""
        one, number = self._attendance(request), _number(request, "page")
        if number >= len(one.listener.pages):
            raise HTTPException(http.HTTPStatus.NOT_FOUND)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        body = await _body(request)
        try:
            answer = answers.parse(self.study, one.listener.pages[number], body)
        except UserError as error:
            raise HTTPException(http.HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        async with one.lock:
            if number in one.answers:  # sent again, because the reply to the first was lost; the first one stands
                return JSONResponse({"next": one.next_page})
            if number != one.next_page:
                raise HTTPException(http.HTTPStatus.CONFLICT, "the pages are answered in order")
            await self._store(StoredAnswer(one.listener.number, number, answer))
            one.answers[number] = answer
        return JSONResponse({"next": one.next_page})

    async def _store(self, answer: StoredAnswer) -> None:
        """Raises HTTPException where the disk is full, say: the page tries again."""
        try:
            await self._writer.store(answer)
        except Exception as error:
            print(f"an answer could not be stored: {error}", file=sys.stderr, flush=True)
            raise HTTPException(http.HTTPStatus.SERVICE_UNAVAILABLE, "the answer could not be stored") from error

    def _attendance(self, request: Request) -> _Attendance:
        found = self._listeners.get(request.path_params["token"])
        if found is None:
            raise HTTPException(http.HTTPStatus.NOT_FOUND)
        return found

    def _asset(self, name: str) -> Response:
        if name not in self._assets:
            raise HTTPException(http.HTTPStatus.NOT_FOUND)
        return Response(self._assets[name], media_type=MEDIA_TYPES[pathlib.PurePath(name).suffix])


def application(folder: str | pathlib.Path, hosts: list[str]) -> Starlette:
    """The study in a folder as an ASGI application.

    Args:
      folder: that `preparation.prepare` wrote.
      hosts: names by which the server may be addressed; requests with another Host header are refused, so that no page
        elsewhere gets at it by pointing a name of its own here (DNS rebinding).

    Raises:
      UserError: the folder holds no whole study.
    """
    served = _Study(pathlib.Path(folder))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        served.close()

    routes = [
        Route("/s/{token}/", served.page),
        Route("/s/{token}/session", served.session),
        Route("/s/{token}/audio/{page}/{slot}", served.audio),
        Route("/s/{token}/answers/{page}", served.answer, methods=["POST"]),
        Route("/page/{name}", served.asset),
    ]
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    app = Starlette(routes=routes, middleware=[Middleware(_SafeHeaders), trusted], lifespan=lifespan)
    app.router.redirect_slashes = False  # it would make an address of what a request says of itself
    return app


def _number(request: Request, name: str) -> int:
    text = request.path_params[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise HTTPException(http.HTTPStatus.NOT_FOUND)
    return int(text)


async def _body(request: Request) -> bytes:
    """The request's body, of at most answers.MAX_BYTES, whatever its headers say."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > answers.MAX_BYTES:
                raise HTTPException(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    except ClientDisconnect as error:
        raise HTTPException(http.HTTPStatus.BAD_REQUEST) from error
    return body


class _Sounds:
    """Sounds in memory, those that were heard last, in MEMORY_BYTES: all listeners of a study hear the same ones."""

    def __init__(self) -> None:
        self._contents: dict[pathlib.Path, bytes] = {}

    async def read(self, path: pathlib.Path) -> bytes:
        """The content of a file."""
        content = self._contents.pop(path, None)
        if content is None:
            content = await anyio.to_thread.run_sync(path.read_bytes)
        self._contents[path] = content  # behind all others
        while sum(map(len, self._contents.values())) > MEMORY_BYTES:
            del self._contents[next(iter(self._contents))]
        return content


class _Sound(Response):
    """A sound, sent in parts: of what a slow listener has not taken yet no more than one is waiting."""

    media_type = "audio/wav"

    def __init__(self, content: bytes) -> None:
        super().__init__(content, headers={"accept-ranges": "none"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), CHUNK_BYTES):
            part = self.body[start : start + CHUNK_BYTES]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _assets() -> dict[str, bytes]:
    """Name -> content of the page's files, which travel with the package."""
    found = resources.files("musicgen_jax.listening") / "page"
    return {one.name: one.read_bytes() for one in found.iterdir() if pathlib.PurePath(one.name).suffix in MEDIA_TYPES}

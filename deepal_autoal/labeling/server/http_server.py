"""The HTTP server of the labeling page: standard library, one page, JSON.

``GET /`` is the page, which holds nothing of the project. All else needs the header `TOKEN_HEADER`, which no other
site can send without being allowed to: ``GET /state``, ``GET /image?id=``, ``GET /guess?id=``, and as POST ``/answer``
(``{"id", "label", "is_confirmed"}``, a null label for a sample that cannot be labeled), ``/undo`` and ``/again``; a
POST is answered with the new state. Files are only read for a sample's id. Refused requests get ``{"error": message}``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import logging
import re
import secrets
import socket
from collections.abc import Callable
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deepal_autoal.errors import DeepALError, InputError, error_message
from deepal_autoal.labeling.server.session import AnsweredError, NewClassError, Session

TOKEN_HEADER = "X-Deepal-Token"
LOCAL_TOKEN = "local"
"""The token where only this computer can connect: the header alone keeps other sites out."""
LARGEST_BODY = 16_384
"""Bytes of a request's body."""
_SECONDS = 30.0
_PORTS = range(65_536)

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: Of HTTP.
        message: Why.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class LabelServer(ThreadingHTTPServer):
    """Serves a session. `server_close` frees the port.

    Args:
        session: Of the project.
        host: The address to listen on.
        port: 0 for any that is free.

    Raises:
        InputError: If it cannot listen there.
    """

    daemon_threads = True

    def __init__(self, session: Session, host: str, port: int) -> None:
        self.session, self.host = session, host
        if port not in _PORTS:
            raise InputError(f"--port {port}: give a number from 0 to {_PORTS[-1]}")
        try:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            super().__init__((host, port), _Handler)
        except (OSError, UnicodeError) as error:
            raise InputError(
                f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}; choose another "
                "port with --port, 0 for any that is free, or another address of this computer with --host"
            ) from error
        self.is_local = _is_loopback(str(self.server_address[0]))
        self.token = LOCAL_TOKEN if self.is_local else secrets.token_urlsafe(16)

    def server_bind(self) -> None:
        """Bind, without the look-up of this computer's name that the base class makes."""
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, self.server_address[1]

    @property
    def url(self) -> str:
        """The address of the page, with the token if there is one."""
        host = self.host
        if host in ("0.0.0.0", "::", ""):
            host = socket.gethostname()
        elif ":" in host:
            host = f"[{host}]"
        return f"http://{host}:{self.server_port}/" + ("" if self.is_local else f"#{self.token}")

    def is_own_name(self, netloc: str) -> bool:
        """Return whether a request's host is this server, not another name that leads here (DNS rebinding)."""
        try:
            parts = urlsplit(f"//{netloc}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self.server_port or parts.netloc.rpartition("@")[1]:
            return False
        if self.is_local:
            return name in (self.host.lower(), "localhost") or _is_loopback(name)
        return name in (self.host.lower(), socket.gethostname().lower(), "localhost") or _is_address(name)

    @cached_property
    def page(self) -> tuple[bytes, str]:
        """The page, and the content security policy that allows its own style and script only."""
        content = resources.files(__package__).joinpath("page.html").read_bytes().replace(b"\r\n", b"\n")
        digests = {}
        for tag in (b"style", b"script"):
            found = re.search(rb"<%s>(.*?)</%s>" % (tag, tag), content, re.DOTALL)
            assert found is not None
            digests[tag] = base64.b64encode(hashlib.sha256(found[1]).digest()).decode()
        policy = (
            f"default-src 'none'; style-src 'sha256-{digests[b'style']}'; script-src 'sha256-{digests[b'script']}'; "
            "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return content, policy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note what went wrong with a connection; clients may leave at any moment."""
        logger.debug("A request of %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    timeout = _SECONDS
    server_version, sys_version = "deepal", ""

    def do_GET(self) -> None:
        self._respond({"/": self._page, "/state": self._state, "/image": self._image, "/guess": self._guess})

    def do_POST(self) -> None:
        self._respond({"/answer": self._answer, "/undo": self._undo, "/again": self._again})

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def _respond(self, routes: dict[str, Callable[[], None]]) -> None:
        try:
            path = urlsplit(self.path).path
            self._check(path)
            if path not in routes:
                raise RefusedError(404, "there is no such page")
            routes[path]()
        except RefusedError as error:
            self._send_json({"error": str(error)}, error.status)
        except NewClassError as error:
            self._send_json({"question": error_message(error)}, 409)
        except AnsweredError as error:
            self._send_json({"error": error_message(error), "state": self.server.session.view()}, 409)
        except InputError as error:
            self._send_json({"error": error_message(error)}, 400)
        except DeepALError as error:
            self._send_json({"error": error_message(error)}, 500)

    def _check(self, path: str) -> None:
        """Refuse what does not come from the page itself."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self.server.is_own_name(hosts[0]):
            raise RefusedError(403, "this server does not answer under that name")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{hosts[0]}":
            raise RefusedError(403, "requests of other sites are refused")
        if path != "/":
            token = self.headers.get(TOKEN_HEADER, "").encode()
            if not hmac.compare_digest(token, self.server.token.encode()):
                raise RefusedError(403, "the token is missing or wrong; open the address that the command printed")

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise RefusedError(411, "the request needs a length")
        # By its digits first: numbers of thousands of digits are not even read.
        if len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
            raise RefusedError(413, "the request is too large")
        try:
            content = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise RefusedError(400, "the request is not a JSON object")
        return content

    def _id(self) -> str:
        ids = parse_qs(urlsplit(self.path).query).get("id", [])
        if len(ids) != 1:
            raise RefusedError(400, "name one sample by its id")
        return ids[0]

    def _page(self) -> None:
        content, policy = self.server.page
        self._send(content, "text/html; charset=utf-8", policy=policy)

    def _state(self) -> None:
        self._send_json(self.server.session.view())

    def _image(self) -> None:
        session, name = self.server.session, self._id()
        try:
            content, kind = session.shown.image(session.row(name))
        except InputError as error:
            raise RefusedError(404, error_message(error)) from error
        self._send(content, kind)

    def _guess(self) -> None:
        self._send_json(self.server.session.guess(self._id()))

    def _answer(self) -> None:
        body = self._body()
        name, label = body.get("id"), body.get("label")
        if not isinstance(name, str) or not (label is None or isinstance(label, str)) or "label" not in body:
            raise RefusedError(400, "an answer has an id and a label")
        self.server.session.answer(name, label, body.get("is_confirmed") is True)
        self._state()

    def _undo(self) -> None:
        self._body()
        self.server.session.undo()
        self._state()

    def _again(self) -> None:
        self._body()
        self.server.session.try_again()
        self._state()

    def _send_json(self, content: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: int = 200, policy: str = "default-src 'none'") -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Content-Security-Policy": policy,
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return _is_address(name) and ipaddress.ip_address(name).is_loopback

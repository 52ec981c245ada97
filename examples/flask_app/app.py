"""A small Flask app for flask.conf: pages it marks cacheable, some it does not, a stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from flask import Flask, Response, jsonify, request

app = Flask(__name__)
_counter = itertools.count(1)


@app.get("/")
def index() -> str:
    """A page without Cache-Control: never stored by flask.conf."""
    return f"<!doctype html><title>Flask</title><p>Made {next(_counter)} times.</p>"


@app.get("/cached")
def cached() -> Response:
    """A page that allows shared caches a minute."""
    response = jsonify(made=next(_counter))
    response.headers["Cache-Control"] = "public, max-age=60"
    response.add_etag()
    return response.make_conditional(request)


@app.get("/private")
def private() -> Response:
    """A page that forbids shared caches."""
    response = jsonify(made=next(_counter))
    response.headers["Cache-Control"] = "private, max-age=60"
    return response


@app.get("/negotiated")
def negotiated() -> Response:
    """One page in two languages, told apart by Accept-Language."""
    language = request.accept_languages.best_match(["en", "de"], "en")
    response = jsonify(language=language, made=next(_counter))
    response.headers["Cache-Control"] = "public, max-age=60"
    response.headers["Vary"] = "Accept-Language"
    return response


@app.get("/headers")
def headers() -> Response:
    """What the app saw: the request's fields and the address it believes in."""
    return jsonify(scheme=request.scheme, headers=dict(request.headers))


@app.post("/echo")
def echo() -> Response:
    """The request body, unchanged."""
    return Response(request.get_data(), mimetype="application/octet-stream")


@app.get("/stream/<int:count>")
def stream(count: int) -> Response:
    """*count* server-sent events."""

    def events() -> Iterator[str]:
        for number in range(count):
            yield f"data: {number}\n\n"

    return Response(events(), mimetype="text/event-stream")

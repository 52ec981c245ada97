"""Pages that a cache may keep, a form it must not, and a look at what arrived."""

from __future__ import annotations

import hashlib
import itertools

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt

from pages.models import Note

_counter = itertools.count(1)


def index(request: HttpRequest) -> HttpResponse:
    """The front page; it touches no session, so it sets no cookie."""
    return render(request, "pages/index.html", {"made": next(_counter)})


def page(request: HttpRequest, name: str) -> HttpResponse:
    """A page long enough to be compressed; the number tells one rendering from the next."""
    return render(
        request, "pages/page.html", {"name": name, "made": next(_counter), "lines": range(100)}
    )


def form(request: HttpRequest) -> HttpResponse:
    """A form under CSRF protection that stores a note."""
    if request.method == "POST":
        Note.objects.create(text=request.POST["text"])
        return redirect("/form/")
    return render(request, "pages/form.html", {"notes": Note.objects.all()})


def headers(request: HttpRequest) -> HttpResponse:
    """The request's fields as the application saw them."""
    return JsonResponse(
        {
            "scheme": request.scheme,
            "host": request.get_host(),
            "absolute": request.build_absolute_uri("/here"),
            "headers": dict(request.headers),
        },
        headers={"Cache-Control": "no-store"},
    )


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    """Size and SHA-256 of the request body."""
    digest = hashlib.sha256()
    size = 0
    while chunk := request.read(65536):
        digest.update(chunk)
        size += len(chunk)
    return JsonResponse({"size": size, "sha256": digest.hexdigest()})

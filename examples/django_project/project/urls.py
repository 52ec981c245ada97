"""The project's pages and the admin."""

from django.contrib import admin
from django.urls import path
from pages import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", views.index),
    path("page/<slug:name>", views.page),
    path("form/", views.form),
    path("headers", views.headers),
    path("upload", views.upload),
]

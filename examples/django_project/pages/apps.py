"""The one application of the example."""

from django.apps import AppConfig


class PagesConfig(AppConfig):
    """Notes that a form leaves and the admin shows."""

    name = "pages"

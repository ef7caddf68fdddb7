"""The pages that a browser talks on: a console at `/`, and a face at `/kiosk`.

`page/` is served as it lies there: HTML, stylesheets and ES modules, no build step and nothing from
elsewhere. The modules that compute (resampling, playing, what was said) know no browser, and are
tested without one.
"""

from echat_sdk.server.console.pages import routes

__all__ = ["routes"]

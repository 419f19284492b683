"""Who has signed in, by Streamlit's own sign-in (OpenID Connect). Read from `st.user`, that is from its signed cookie.

Never from the URL or a header, and only here. What becomes of it is one keyed hash: see `core.guests.person_token`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import streamlit as st

from core import guests
from core.errors import RefusedError
from core.workspace import Workspace

SHARED = ("redirect_uri", "cookie_secret")
OF_PROVIDER = ("client_id", "client_secret", "server_metadata_url")
IDENTITY = {"is_logged_in", "iss", "sub"}
MIN_SECRET = 32  # characters; whoever knows the cookie's secret can be anybody
LIBRARIES = ("authlib", "httpx")
GUIDE = "see docs/signing-in.md"


def is_set_up() -> bool:
    """Whether this server means its visitors to be able to sign in."""
    return guests.are_apart() and bool(_settings())


def is_signed_in() -> bool:
    """Whether the cookie says so, on a server on which that can be relied upon."""
    return is_set_up() and not _fault() and st.user.get("is_logged_in") is True


def is_open() -> bool:
    """Whether pages may show anything: not before a sign-in that is required, and not to somebody without a name."""
    if not is_signed_in():
        return not guests.must_sign_in()
    try:
        own_workspace()
    except RefusedError:
        return False
    return True


def own_workspace() -> Workspace:
    """The workspace of who has signed in.

    Raises:
        RefusedError: The provider does not say who that is.
    """
    return guests.workspace_of_person(_claim("iss"), _claim("sub"))


def providers() -> list[str]:
    """By whom one can sign in, by their names in the secrets; the one that stands there without a name is ""."""
    settings = _settings()
    named = [name for name, value in settings.items() if isinstance(value, Mapping) and "client_id" in value]
    return ["", *named] if "client_id" in settings else named


def obstacle() -> str:
    """Why nobody can sign in just now, as a sentence for the server's keeper; "" when nothing is in the way."""
    if not is_set_up():
        return f"Nobody can sign in: no provider is set up on this server ({GUIDE})."
    if not all(map(find_spec, LIBRARIES)):
        return "Signing in needs Authlib on this server: `pip install -r requirements-signin.txt`, then start it again."
    return _fault()


def _claim(name: str) -> str:
    value = st.user.get(name)
    return value if isinstance(value, str) else ""


def _settings() -> Mapping[str, Any]:
    """The section [auth] of Streamlit's secrets."""
    found = st.secrets.get("auth", {}) if st.secrets.load_if_toml_exists() else {}
    return found if isinstance(found, Mapping) else {}


def _fault() -> str:
    """What makes the settings useless, or a cookie no proof."""
    settings = _settings()
    of_providers = [settings[name] if name else settings for name in providers()]
    lacking = [key for key in SHARED if not settings.get(key)]
    lacking += [key for key in OF_PROVIDER if not of_providers or any(not one.get(key) for one in of_providers)]
    if lacking:
        return f"Signing in is not fully set up on this server: {', '.join(lacking)} ({GUIDE})."
    if len(str(settings["cookie_secret"])) < MIN_SECRET:
        return f"Signing in is switched off: cookie_secret needs {MIN_SECRET} random characters ({GUIDE})."
    if IDENTITY & set((st.get_option("server.trustedUserHeaders") or {}).values()):
        return "Signing in is switched off: server.trustedUserHeaders would let a header say who somebody is."
    return ""

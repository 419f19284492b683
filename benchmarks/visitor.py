"""A visitor without a browser: speaks Streamlit's protocol over the real websocket, draws nothing, times everything."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 120.0
IS_ERROR = 1  # Alert.ERROR


@dataclass
class Visitor:
    """One tab: what it shows (widgets by kind and label), and how long each answer took.

    Attributes:
        polls: fragment -> seconds between its own redraws, as the page asked for them.
    """

    address: str
    query: str = ""
    page: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    widgets: dict[tuple[str, str], str] = field(default_factory=dict)
    values: dict[str, WidgetState] = field(default_factory=dict)
    polls: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    polls_took_s: list[float] = field(default_factory=list)

    def __enter__(self) -> Visitor:
        self.socket: ClientConnection = connect(
            self.address.replace("http", "ws", 1) + "/_stcore/stream",
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=None,
            open_timeout=PATIENCE_S,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def open(self, page: str = "") -> None:
        """Follow the navigation to a page; "" is Home."""
        self.page = page
        self.values = {}
        self._ask(ClientState(query_string=self.query, page_name=page, page_script_hash=self.hashes.get(page, "")))

    def press(self, label: str) -> bool:
        """Press the button of that label, if the page has it."""
        name = self.widgets.get(("button", label))
        if name is None:
            return False
        self._rerun(WidgetState(id=name, trigger_value=True))
        return True

    def fill_in(self, label: str, number: float) -> None:
        """Put a number into a field; it goes out with the next button."""
        name = self.widgets[("number_input", label)]
        self.values[name] = WidgetState(id=name, double_value=number)

    def stay(self, seconds: float) -> None:
        """Look at the page, while it redraws what it redraws by itself."""
        until = time.monotonic() + seconds
        due: dict[str, float] = {}
        while (now := time.monotonic()) < until:
            due = {name: due.get(name, now + every_s) for name, every_s in self.polls.items()}
            name = next((name for name, moment in due.items() if now >= moment), None)
            if name is not None:
                self._rerun(fragment=name)
                due.pop(name)
            time.sleep(0.05)

    def _rerun(self, *pressed: WidgetState, fragment: str = "") -> None:
        states = WidgetStates(widgets=[*self.values.values(), *pressed])
        asked = ClientState(
            query_string=self.query,
            widget_states=states,
            page_script_hash=self.hashes.get(self.page, ""),
            fragment_id=fragment,
            is_auto_rerun=bool(fragment),
        )
        self._ask(asked)

    def _ask(self, state: ClientState) -> None:
        """Send it, and take in the answer with its pictures, timed."""
        began = time.monotonic()
        self.socket.send(BackMsg(rerun_script=state).SerializeToString())
        pictures = [url for message in self._answer() for url in self._taken_in(message)]
        for url in pictures:
            with urllib.request.urlopen(self.address + url, timeout=PATIENCE_S) as reply:
                reply.read()
        (self.polls_took_s if state.fragment_id else self.took_s).append(time.monotonic() - began)

    def _answer(self) -> Iterator[ForwardMsg]:
        """All messages until the script has come to its end, and no other run of it was begun."""
        while True:
            message = ForwardMsg()
            message.ParseFromString(self.socket.recv(timeout=PATIENCE_S))  # type: ignore[arg-type]
            yield message
            if message.WhichOneof("type") != "script_finished":
                continue
            if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                self.errors.append("the script did not compile")
            if message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return

    def _taken_in(self, message: ForwardMsg) -> list[str]:
        """Remember what matters of one message; returns the addresses of its pictures."""
        kind = message.WhichOneof("type")
        if kind == "new_session" and not message.metadata.run.fragment_ids:
            self.widgets, self.polls = {}, {}  # the whole page is drawn anew, also where a part of it asked for that
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "navigation":
            self.hashes = {
                "" if page.is_default else page.url_pathname: page.page_script_hash
                for page in message.navigation.app_pages
            }
        elif kind == "auto_rerun":
            self.polls[message.auto_rerun.fragment_id] = float(message.auto_rerun.interval)
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            return self._drawn(message.delta.new_element)
        return []

    def _drawn(self, element: Any) -> list[str]:
        kind = element.WhichOneof("type")
        part = getattr(element, kind) if kind else None
        if kind == "exception":
            self.errors.append(f"{self.page}: {part.type}")
        elif kind == "alert" and part.format == IS_ERROR:
            self.errors.append(f"{self.page}: {part.body}")
        elif kind == "imgs":
            return [image.url for image in part.imgs if image.url.startswith("/media")]
        elif hasattr(part, "label") and hasattr(part, "id"):
            self.widgets[(str(kind), part.label)] = part.id
        return []

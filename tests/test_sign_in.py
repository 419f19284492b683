"""The workspace of somebody who has signed in: one for each person and server, named so that nobody is told."""

from __future__ import annotations

import hashlib
import json
import stat

import pytest

from core.errors import RefusedError
from core.guests import (
    are_apart,
    close_to_links,
    guest,
    is_token,
    must_sign_in,
    new_token,
    opens_by_link,
    person_token,
    workspace_of_person,
)
from core.workspace import Workspace

KEY = bytes(range(32))
ISSUER, SUBJECT = "https://accounts.example.org", "anna-4711"


def test_a_person_has_one_token_and_any_other_person_issuer_or_server_another() -> None:
    tokens = {
        person_token(KEY, ISSUER, SUBJECT),
        person_token(KEY, ISSUER, "anna-4712"),
        person_token(KEY, ISSUER + "/", SUBJECT),
        person_token(bytes(32), ISSUER, SUBJECT),
        person_token(KEY, SUBJECT, ISSUER),
    }
    assert len(tokens) == 5
    assert person_token(KEY, ISSUER, SUBJECT) in tokens
    assert all(map(is_token, tokens))


def test_a_token_is_the_keyed_hash_that_it_is_said_to_be() -> None:
    said = hashlib.blake2b(digest_size=16, key=KEY, person=b"sign-in")
    said.update(json.dumps([ISSUER, SUBJECT]).encode())
    assert person_token(KEY, ISSUER, SUBJECT) == said.hexdigest()


@pytest.mark.parametrize(("one", "other"), [(("ab", "c"), ("a", "bc")), (('a", "b', "c"), ("a", 'b", "c'))])
def test_no_two_pairs_run_into_one(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert person_token(KEY, *one) != person_token(KEY, *other)


@pytest.mark.parametrize(("issuer", "subject"), [("", SUBJECT), (ISSUER, ""), (ISSUER, " \t"), ("", "")])
def test_somebody_without_a_name_has_no_workspace(issuer: str, subject: str, workspace: Workspace) -> None:
    with pytest.raises(RefusedError, match="does not say who you are"):
        workspace_of_person(issuer, subject)


def test_the_server_s_secret_is_made_once_for_the_server_alone(workspace: Workspace) -> None:
    place = workspace_of_person(ISSUER, SUBJECT)
    path = workspace.root / ".secret"
    secret = path.read_bytes()
    assert len(secret) == 32 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert workspace_of_person(ISSUER, SUBJECT) == place == guest(person_token(secret, ISSUER, SUBJECT))
    assert path.read_bytes() == secret
    assert secret[:4].hex() not in place.owner and SUBJECT not in place.owner
    assert not place.root.exists()  # who only looks leaves no folder


@pytest.mark.parametrize("left", [b"", bytes(31)])
def test_a_secret_that_was_cut_short_opens_nothing(left: bytes, workspace: Workspace) -> None:
    workspace.root.mkdir()
    (workspace.root / ".secret").write_bytes(left)
    with pytest.raises(ValueError, match="secret"):
        workspace_of_person(ISSUER, SUBJECT)


def test_a_person_s_workspace_is_not_opened_by_its_name(workspace: Workspace) -> None:
    place, others = workspace_of_person(ISSUER, SUBJECT), guest(new_token())
    close_to_links(place)
    assert not place.root.exists() and opens_by_link(place.owner)  # nothing is in it that could be seen
    for one in (place, others):
        one.runs.mkdir(parents=True)
    close_to_links(place)
    close_to_links(workspace)
    assert not opens_by_link(place.owner) and opens_by_link(others.owner) and not opens_by_link("anna")
    assert not (workspace.root / ".person").exists()


@pytest.mark.parametrize(("setting", "is_required"), [("", False), ("offered", False), ("required", True), ("1", True)])
def test_a_word_that_is_not_known_requires_a_sign_in(setting: str, is_required: bool, monkeypatch) -> None:
    monkeypatch.delenv("CROSSMODAL_VISITORS", raising=False)
    monkeypatch.setenv("CROSSMODAL_SIGN_IN", setting)
    assert must_sign_in() is is_required
    assert are_apart() is is_required  # persons are kept apart in any case

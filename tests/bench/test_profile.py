"""Profiles: those shipped can be read, mistakes are named, and who is in them exists before the server starts."""

from pathlib import Path

import pytest

from bench import profile
from bench.profile import Profile, ProfileError


@pytest.mark.parametrize("path", sorted(profile.PROFILES.glob("*.toml")), ids=lambda path: path.name)
def test_a_shipped_profile_is_good(path: Path) -> None:
    assert profile.load(path).users > 0


def test_the_default_profiles_are_shipped() -> None:
    assert profile.SMALL.exists()
    assert profile.SOAK.exists()


@pytest.mark.parametrize("text", ["[sleeping]\nusers = 1", "[idle]\nusers = -1", "[idle", "[idle]\npeople = 3", "\xff"])
def test_what_is_no_profile_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text, "latin-1")
    with pytest.raises(ProfileError, match=r"x\.toml"):
        profile.load(path)


def test_writers_friends_and_members_need_accounts() -> None:
    people = Profile(chatting=profile.Chatting(users=4), groups=profile.Grouped(users=3, members=2)).population()
    assert set(people.users) == {"writer0", "friend0", "writer1", "friend1", "member0", "member1", "member2"}
    assert set(people.groups) == {"group:member0", "group:member1", "group:member2"}

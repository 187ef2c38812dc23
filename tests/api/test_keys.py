"""Keys: shown once, kept as digests, revoked for good."""

import os
from pathlib import Path

import pytest

from api.keys import (
    KeyRefused,
    KeysUnreadable,
    create_key,
    find_key,
    keys_file,
    last_used_ms,
    note_use,
    read_keys,
    revoke_key,
)


def test_a_key_is_kept_as_a_digest_that_only_its_owner_can_read(tmp_path: Path) -> None:
    key, text = create_key(tmp_path, "shop", ("decide", "feedback"))
    kept = keys_file(tmp_path).read_text()
    assert text not in kept and text.split("_", 2)[2] not in kept
    assert os.stat(keys_file(tmp_path)).st_mode & 0o077 == 0
    assert read_keys(tmp_path) == (key,)


def test_a_key_is_found_by_its_whole_text_and_by_nothing_less(tmp_path: Path) -> None:
    key, text = create_key(tmp_path, "shop", ("decide",))
    keys = {one.id: one for one in read_keys(tmp_path)}
    assert find_key(keys, text) == key
    for other in ("", key.id, text[:-1], text + "A", text.swapcase(), f"perennial_{key.id}_{'A' * 43}", "\udc80" * 60):
        assert find_key(keys, other) is None


def test_two_keys_of_one_name_are_valid_at_once_and_are_revoked_apart_or_together(tmp_path: Path) -> None:
    old, old_text = create_key(tmp_path, "shop", ("decide",))
    new, new_text = create_key(tmp_path, "shop", ("decide",))
    assert [key.id for key in revoke_key(tmp_path, old.id)] == [old.id]
    keys = {one.id: one for one in read_keys(tmp_path)}
    assert find_key(keys, old_text) is None
    assert find_key(keys, new_text) is not None
    assert [key.id for key in revoke_key(tmp_path, "shop")] == [new.id]
    assert revoke_key(tmp_path, "shop") == ()


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "-x", "a/b", "a\n"])
def test_a_name_is_one_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyRefused):
        create_key(tmp_path, name, ("decide",))


def test_a_file_that_was_not_written_by_us_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    keys_file(tmp_path).write_text('{"keys": [{"name": "x"}]}')
    with pytest.raises(KeysUnreadable):
        create_key(tmp_path, "shop", ("decide",))
    assert keys_file(tmp_path).read_text() == '{"keys": [{"name": "x"}]}'


def test_the_last_use_of_a_key_is_known(tmp_path: Path) -> None:
    assert last_used_ms(tmp_path, "0123abcd") is None
    note_use(tmp_path, "0123abcd")
    assert last_used_ms(tmp_path, "0123abcd") is not None

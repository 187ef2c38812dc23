"""Laws of artifacts: what is read is what was written, or it is refused by the name of the file."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online.artifact import (
    ArtifactCorrupt,
    ArtifactMissing,
    item_ids,
    item_vectors,
    pack_ids,
    read_artifact,
    unpack_ids,
    write_artifact,
)

FIELDS = {"kind": "recommendation", "metrics": {"ndcg@10": 0.5}, "created": {"at": "2026-01-01T00:00:00Z"}}


def tensors() -> dict[str, np.ndarray]:
    blob, starts = pack_ids(["a", "né", "c"])
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)
    return {"items.vectors": vectors, "items.ids": blob, "items.id_starts": starts}


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = write_artifact(tmp_path / "a", tensors(), FIELDS)
    read = read_artifact(tmp_path / "a")
    assert (read.id, read.manifest) == (written.id, written.manifest) and len(read.id) == 16
    assert item_ids(read) == ["a", "né", "c"]
    np.testing.assert_array_equal(item_vectors(read), tensors()["items.vectors"])


def test_the_id_names_the_content_and_not_the_moment(tmp_path: Path) -> None:
    one = write_artifact(tmp_path / "a", tensors(), FIELDS)
    later = write_artifact(tmp_path / "b", tensors(), {**FIELDS, "created": {"at": "2027-01-01T00:00:00Z"}})
    moved = {**tensors(), "items.vectors": tensors()["items.vectors"] + 1}
    other = write_artifact(tmp_path / "c", moved, FIELDS)
    retold = write_artifact(tmp_path / "d", tensors(), {**FIELDS, "metrics": {"ndcg@10": 0.6}})
    assert one.id == later.id and len({one.id, other.id, retold.id}) == 3


def test_writing_again_replaces_the_artifact_and_its_old_weights(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", tensors(), FIELDS)
    moved = {**tensors(), "items.vectors": tensors()["items.vectors"] + 1}
    second = write_artifact(tmp_path / "a", moved, FIELDS)
    assert read_artifact(tmp_path / "a").id == second.id
    assert len(list((tmp_path / "a").iterdir())) == 2


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_the_weights_is_refused_by_the_name_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("artifact")
    write_artifact(folder, tensors(), FIELDS)
    (path,) = folder.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(ArtifactCorrupt) as refused:
        read_artifact(folder)
    assert refused.value.path == path and refused.value.expected != refused.value.actual


def test_cut_off_weights_are_refused_by_their_size(tmp_path: Path) -> None:
    write_artifact(tmp_path, tensors(), FIELDS)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactCorrupt, match="bytes"):
        read_artifact(tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m["metrics"].update({"ndcg@10": 0.9}),
        lambda m: m.update(id="0" * 16),
        lambda m: m.update(format=2),
        lambda m: m["files"][0].update(name="../elsewhere.safetensors"),
    ],
)
def test_an_edited_manifest_is_refused(tmp_path: Path, edit) -> None:
    write_artifact(tmp_path, tensors(), FIELDS)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactCorrupt) as refused:
        read_artifact(tmp_path)
    assert refused.value.path == path


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    write_artifact(tmp_path, tensors(), FIELDS)
    (tmp_path / "manifest.json").write_bytes(b"\xff{")
    with pytest.raises(ArtifactCorrupt, match="expected JSON"):
        read_artifact(tmp_path)


def test_an_absent_artifact_or_file_is_missing_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="nowhere"):
        read_artifact(tmp_path / "nowhere")
    write_artifact(tmp_path, tensors(), FIELDS)
    (path,) = tmp_path.glob("*.safetensors")
    path.unlink()
    with pytest.raises(ArtifactMissing, match=path.name):
        read_artifact(tmp_path)


def test_a_manifest_leads_nowhere_but_into_its_own_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="files"):
        write_artifact(tmp_path, tensors(), {"files": [{"name": "/etc/passwd"}]})


def test_numbers_that_json_does_not_have_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_artifact(tmp_path / "a", tensors(), {"metrics": {"loss": float("nan")}})
    assert not (tmp_path / "a" / "manifest.json").exists()


def test_int8_vectors_come_back_scaled(tmp_path: Path) -> None:
    small = {**tensors(), "items.vectors": np.full((3, 4), 2, np.int8), "items.scale": np.float32([0.5, 1, 2])}
    write_artifact(tmp_path, small, FIELDS)
    assert item_vectors(read_artifact(tmp_path))[:, 0].tolist() == [1.0, 2.0, 4.0]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20), max_size=20))
def test_ids_survive_packing(ids: list[str]) -> None:
    assert unpack_ids(*pack_ids(ids)) == ids

"""Artifacts: what the batch job makes and the fold starts from. Frozen, content-addressed, verified on
reading.

A folder holds `manifest.json` and the safetensors files that it lists with their size and BLAKE3. The
artifact's id is a hash of the manifest, the manifest holds the hashes of the files: one name stands for every
byte. The law of this file: what is read is what was written, or it is refused by name. Nothing is ever
unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import safetensors.numpy

from online.durable import write_durably

FORMAT = 1
MANIFEST = "manifest.json"
ID_LENGTH = 16  # hex digits: 64 bits name an artifact among the few that one service ever sees
UNHASHED = ("id", "created")  # `created` says when and how long: the same content made twice has one id

Tensors = dict[str, np.ndarray]


class ArtifactMissing(Exception):
    """There is no artifact at this path, or one of its files is gone."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: no artifact here. Make one with `perennial pretrain`, or name another folder.")
        self.path = path


class ArtifactCorrupt(Exception):
    """A file of an artifact is not what its manifest says."""

    def __init__(self, path: Path, *, expected: str, actual: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {actual}. Copy the artifact again from its source.")
        self.path = path
        self.expected = expected
        self.actual = actual


@dataclass(frozen=True, slots=True)
class Artifact:
    """id: 16 hex digits; manifest: the parsed manifest.json; tensors: arrays by name, e.g. `items.vectors` [n, d]."""

    id: str
    manifest: dict[str, Any]
    tensors: Tensors


def write_artifact(folder: Path, tensors: Mapping[str, np.ndarray], manifest_fields: Mapping[str, Any]) -> Artifact:
    """Write tensors and manifest into folder (made if absent), and return what a reader will see.

    manifest_fields: what the manifest says besides `format`, `files` and `id`: kind, data, configuration,
    metrics, environment, created. The manifest is renamed into place last, so that a crash leaves the older
    artifact whole. Raises ValueError where a field is not JSON or one of those three names.
    """
    folder = Path(folder)
    if taken := {"format", "files", "id"} & manifest_fields.keys():
        raise ValueError(f"manifest fields {sorted(taken)} are written by write_artifact itself")
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    content = safetensors.numpy.save(contiguous)
    digest = blake3.blake3(content).hexdigest()
    name = f"weights-{digest[:ID_LENGTH]}.safetensors"
    manifest: dict[str, Any] = {
        **manifest_fields,
        "format": FORMAT,
        "files": [{"name": name, "bytes": len(content), "blake3": digest}],
    }
    manifest = json.loads(canonical(manifest))  # tuples become lists here, as they will for every reader
    manifest["id"] = manifest_id(manifest)
    write_durably(folder / name, content)
    write_durably(folder / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False).encode())
    for old in folder.glob("weights-*.safetensors"):
        if old.name != name:
            old.unlink()
    return Artifact(id=manifest["id"], manifest=manifest, tensors=contiguous)


def read_artifact(folder: Path) -> Artifact:
    """Read and verify every byte of an artifact.

    Raises ArtifactMissing where the folder, its manifest or a listed file is absent, and ArtifactCorrupt
    where the format is unknown or an id, size or hash differs.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ArtifactMissing(path)
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:  # also a UnicodeDecodeError
        raise ArtifactCorrupt(path, expected="JSON", actual=str(error)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtifactCorrupt(path, expected=f"format {FORMAT}", actual=f"format {found}")
    if (expected := manifest_id(manifest)) != manifest.get("id"):
        raise ArtifactCorrupt(path, expected=f"id {expected}", actual=f"id {manifest.get('id')}")
    tensors: Tensors = {}
    for file in manifest["files"]:
        tensors.update(_read_tensors(Path(folder), file))
    return Artifact(id=manifest["id"], manifest=manifest, tensors=tensors)


def artifact_kind(folder: Path) -> str:
    """What an artifact is for, by its manifest alone: "recommendation", "pricing".

    Raises ArtifactMissing, and ArtifactCorrupt where the manifest says nothing of it.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ArtifactMissing(path)
    try:
        kind = json.loads(path.read_bytes())["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactCorrupt(path, expected="a manifest with its kind", actual=str(error)) from error
    if kind not in ("recommendation", "pricing"):
        raise ArtifactCorrupt(path, expected="recommendation or pricing", actual=str(kind))
    return str(kind)


def manifest_id(manifest: Mapping[str, Any]) -> str:
    """The id that a manifest deserves: BLAKE3 of its canonical JSON without `id` and `created`, 16 hex digits."""
    hashed = {key: value for key, value in manifest.items() if key not in UNHASHED}
    return str(blake3.blake3(canonical(hashed)).hexdigest())[:ID_LENGTH]


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces. Raises ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def pack_ids(ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Strings -> UTF-8 blob uint8 [bytes] and starts int64 [n + 1].

    >>> blob, starts = pack_ids(["a", "né"])
    >>> starts.tolist(), unpack_ids(blob, starts)
    ([0, 1, 4], ['a', 'né'])
    """
    encoded = [i.encode() for i in ids]
    starts = np.zeros(len(encoded) + 1, np.int64)
    starts[1:] = np.cumsum([len(e) for e in encoded])
    return np.frombuffer(b"".join(encoded), np.uint8), starts


def unpack_ids(blob: np.ndarray, starts: np.ndarray) -> list[str]:
    """The inverse of pack_ids."""
    content = blob.tobytes()
    return [content[a:b].decode() for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]


def item_ids(artifact: Artifact) -> list[str]:
    """The ids of the artifact's items, in the order of the rows of its vectors."""
    return unpack_ids(artifact.tensors["items.ids"], artifact.tensors["items.id_starts"])


def item_vectors(artifact: Artifact) -> np.ndarray:
    """The artifact's item vectors, float32 [n, d]; int8 vectors are scaled back, one product for each number."""
    vectors = artifact.tensors["items.vectors"]
    if vectors.dtype == np.int8:
        return vectors.astype(np.float32) * artifact.tensors["items.scale"][:, None]
    return vectors


def _read_tensors(folder: Path, file: Mapping[str, Any]) -> Tensors:
    name = str(file["name"])
    if Path(name).name != name:  # a manifest from elsewhere must not lead out of its folder
        raise ArtifactCorrupt(folder / MANIFEST, expected="plain file names", actual=name)
    path = folder / name
    if not path.is_file():
        raise ArtifactMissing(path)
    content = path.read_bytes()
    if len(content) != file["bytes"]:
        raise ArtifactCorrupt(path, expected=f"{file['bytes']} bytes", actual=f"{len(content)} bytes")
    digest = str(blake3.blake3(content).hexdigest())
    if digest != file["blake3"]:
        raise ArtifactCorrupt(path, expected=f"blake3 {file['blake3']}", actual=f"blake3 {digest}")
    tensors: Tensors = safetensors.numpy.load(content)
    return tensors

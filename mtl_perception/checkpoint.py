# Copyright 2026 The mtl_perception authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Weights folders on disk: find, verify, write."""

from dataclasses import dataclass, replace
import hashlib
import json
import os
from pathlib import Path
import shutil
import stat
import tempfile
from typing import Dict, List, Optional, Union

from mtl_perception.card import Card, card_from_json, card_to_json, FileDigest
from mtl_perception.errors import CheckpointError

CARD = 'card.json'
ONNX = 'model.onnx'
INT8_ONNX = 'model.int8.onnx'
SAFETENSORS = 'model.safetensors'
MAX_CARD_BYTES = 1 << 20
MAX_MODEL_BYTES = 512 << 20


@dataclass(frozen=True)
class Checkpoint:
    """
    A weights folder whose files are what its card says.

    :param folder: the folder
    :param card: its parsed card
    """

    folder: Path
    card: Card

    @property
    def onnx_path(self) -> Path:
        """Return the path of the ONNX graph."""
        return self.folder / ONNX

    @property
    def safetensors_path(self) -> Path:
        """Return the path of the parameters."""
        return self.folder / SAFETENSORS


def weights_folders() -> List[Path]:
    """Return the folders that hold named weights: the source tree's, then the installed one."""
    folders = [Path(__file__).resolve().parent.parent / 'weights']
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix:
            folders.append(Path(prefix) / 'share' / 'mtl_perception' / 'weights')
    return [folder for folder in folders if folder.is_dir()]


def find_checkpoint(name_or_path: Union[str, Path]) -> Path:
    """
    Return the folder of a name in ``weights/`` or of a path.

    :raises CheckpointError: if there is no such folder; the message lists the names there are
    """
    text = str(name_or_path)
    if not text or '\0' in text:
        raise CheckpointError(f'expected a name in weights/ or a path, got {text!r}')
    is_name = os.sep not in text and text not in ('.', '..')
    # os.path says no where pathlib would raise: too long a name, a folder nobody may look into.
    if is_name:
        for folder in weights_folders():
            if os.path.isfile(folder / text / CARD):
                return folder / text
    path = Path(os.path.expanduser(text))
    if os.path.isdir(path):
        return path
    known = sorted({child.parent.name for folder in weights_folders()
                    for child in folder.glob(f'*/{CARD}')})
    raise CheckpointError(
        f'expected a weights folder or one of the names [{", ".join(known)}], got {text[:200]!r}; '
        'pass a folder that holds card.json, model.onnx and model.safetensors')


def _read_limited(path: Path, limit: int) -> bytes:
    try:
        status = path.stat()
        # Another kind of file, such as a pipe, might never come to an end.
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f'{path}: expected a file, got something else')
        if status.st_size > limit:
            raise CheckpointError(f'{path}: expected at most {limit} bytes, got '
                                  f'{status.st_size}; this is no file of ours')
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f'{path}: expected a readable file, got: {error.strerror}; a weights folder holds '
            'card.json, model.onnx and model.safetensors') from None


def verified_bytes(checkpoint: Checkpoint, file_name: str) -> bytes:
    """
    Return a model file's bytes, once they are what the card says.

    The bytes that were checked are the bytes that are used: no second read.

    :raises CheckpointError: if the file is missing, too large, or differs from the card's digest
    """
    path = checkpoint.folder / file_name
    digest = checkpoint.card.files.get(file_name)
    if digest is None:
        raise CheckpointError(
            f'{checkpoint.folder / CARD}: expected a digest of {file_name} under "files", got '
            'none; export the weights again')
    content = _read_limited(path, MAX_MODEL_BYTES)
    found = hashlib.sha256(content).hexdigest()
    if found != digest.sha256:
        raise CheckpointError(
            f'{path}: expected sha256 {digest.sha256[:12]}..., got {found[:12]}...; the file was '
            'altered or cut short, fetch it again or export the weights again')
    return content


def verified_int8(checkpoint: Checkpoint) -> Optional[bytes]:
    """
    Return the bytes of the quantised graph, None if the weights have none.

    :raises CheckpointError: if they should have one and it is missing or altered
    """
    return verified_bytes(checkpoint, INT8_ONNX) if INT8_ONNX in checkpoint.card.files else None


def load_checkpoint(name_or_path: Union[str, Path]) -> Checkpoint:
    """
    Return the checkpoint of a name in ``weights/`` or of a folder; its card is parsed, checked.

    Model files are verified when their bytes are read (:func:`verified_bytes`), so that a node
    that runs ONNX does not read the other file.

    :raises CheckpointError: if the folder or card is missing or wrong
    """
    folder = find_checkpoint(name_or_path)
    content = _read_limited(folder / CARD, MAX_CARD_BYTES)
    try:
        card = card_from_json(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{folder / CARD}: expected JSON, got {error}') from None
    except CheckpointError as error:
        raise CheckpointError(f'{folder / CARD}: {error}') from None
    for file_name in (ONNX, SAFETENSORS):
        if file_name not in card.files:
            raise CheckpointError(
                f'{folder / CARD}: expected a digest of {file_name} under "files", got none; '
                'export the weights again')
    return Checkpoint(folder, card)


def save_checkpoint(folder: Path, card: Card, onnx: bytes, safetensors: bytes,
                    int8_onnx: Optional[bytes] = None) -> Checkpoint:
    """
    Write a weights folder whole or not at all, and return it.

    :param folder: where to; a folder of that name that holds a card is replaced
    :param card: without digests, they are filled in here
    :param int8_onnx: the same network quantised, if it was
    :raises CheckpointError: if ``folder`` exists and is no weights folder, or cannot be written
    """
    folder = Path(folder)
    if folder.exists() and not (folder / CARD).is_file():
        raise CheckpointError(
            f'{folder}: expected a weights folder or a new name, got something else; '
            'nothing was written')
    contents: Dict[str, bytes] = {ONNX: onnx, SAFETENSORS: safetensors}
    if int8_onnx is not None:
        contents[INT8_ONNX] = int8_onnx
    card = replace(card, files={
        name: FileDigest(hashlib.sha256(content).hexdigest(), len(content))
        for name, content in contents.items()})
    contents[CARD] = (json.dumps(card_to_json(card), indent=1) + '\n').encode()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
    except OSError as error:
        raise CheckpointError(f'{folder}: cannot be written ({error.strerror})') from None
    try:
        staging.chmod(0o755)
        for name, content in contents.items():
            (staging / name).write_bytes(content)
        if folder.exists():
            retired = staging.with_name(staging.name + '.old')
            folder.rename(retired)
            staging.rename(folder)
            shutil.rmtree(retired)
        else:
            staging.rename(folder)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise CheckpointError(f'{folder}: cannot be written ({error.strerror})') from None
    return Checkpoint(folder, card)

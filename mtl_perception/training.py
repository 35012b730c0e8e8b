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
"""Train a network from a recipe; cut off at any time, the run goes on where it was."""

from copy import deepcopy
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import time
from typing import Any, Dict, List, Mapping, Tuple

import cv2
from mtl_perception.augment import Augmentation, ColourJitter, Degrade, HorizontalFlip, RandomView
from mtl_perception.backends.torch_backend import TorchBackend
from mtl_perception.card import Architecture, Card, ImageInput
from mtl_perception.checkpoint import Checkpoint
from mtl_perception.data.batches import Batch, TrainingStream
from mtl_perception.data.household import HOUSEHOLD_NAMES
from mtl_perception.data.voc import VocDataset
from mtl_perception.engine import Engine
from mtl_perception.errors import ConfigError, PerceptionError
from mtl_perception.evaluation import evaluate, headline
from mtl_perception.export import export
from mtl_perception.losses import LossWeights, MultiTaskLoss
from mtl_perception.network import build_network, NETWORKS
from mtl_perception.network.deploy import DeployNetwork
from mtl_perception.plots import plot_run
from mtl_perception.recipe import Recipe, recipe_from_mapping, recipe_to_json
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

LABELS = {'household': HOUSEHOLD_NAMES}
STATE = 'state.pt'
LOG = 'metrics.jsonl'
DESCRIPTION = 'dataset.json'
OF_ITSELF = ('generator', 'generator_version', 'provenance', 'held_out_variants')
LOG_EVERY = 20


def card_of(recipe: Recipe) -> Card:
    """
    Return the card of the weights that ``recipe`` makes, without figures.

    :raises ConfigError: if the recipe names an unknown network or label set
    """
    for name, table in (('network', NETWORKS), ('labels', LABELS)):
        if getattr(recipe, name) not in table:
            raise ConfigError(f'recipe: {name}: expected one of {", ".join(sorted(table))}, '
                              f'got {getattr(recipe, name)!r}')
    return Card(
        name=recipe.name,
        architecture=Architecture(recipe.network, NETWORKS[recipe.network].strides),
        input=ImageInput(recipe.input_side, recipe.input_side),
        classes=LABELS[recipe.labels])


def loss_weights_of(recipe: Recipe) -> LossWeights:
    """
    Return the weights of the loss's parts.

    :raises ConfigError: if the recipe names a part that there is not
    """
    try:
        return LossWeights(**recipe.loss_weights)
    except TypeError as error:
        raise ConfigError(f'recipe: loss_weights: {error}') from None


def augmentations_of(recipe: Recipe, pad_value: int) -> Tuple[Augmentation, ...]:
    """Return what the recipe does to every picture, in order."""
    strength = recipe.augmentation
    return (RandomView(strength.zoom, probability=strength.view, grey=pad_value),
            HorizontalFlip(strength.flip),
            ColourJitter(probability=strength.colour),
            Degrade(probability=strength.degrade))


class Average:
    """
    An exponential moving average of a network's weights and statistics.

    :param network: that is trained
    :param decay: of the average; lower at first, so that the random start is soon forgotten
    """

    def __init__(self, network: nn.Module, decay: float):
        """Start from the network as it is."""
        self.network = deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards ``network`` after optimiser step ``step``, counted from 0."""
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        current = network.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1.0 - decay)
            else:
                value.copy_(current[name])


def load_pretrained_trunk(network: nn.Module) -> None:
    """
    Fill the trunk with torchvision's ImageNet weights, downloading them once.

    :raises ConfigError: if they cannot be had
    """
    from torchvision.models import mobilenet_v3_small, MobileNet_V3_Small_Weights
    try:
        model = mobilenet_v3_small(weights=MobileNet_V3_Small_Weights.IMAGENET1K_V1)
    except OSError as error:
        raise ConfigError(f'recipe: pretrained: expected to download torchvision weights, got: '
                          f'{error}; set pretrained: false') from None
    network.trunk_layers.load_state_dict(model.features.state_dict())


def parameter_groups(network: nn.Module, weight_decay: float) -> List[Dict[str, Any]]:
    """Return AdamW's groups: norms and biases, which have one dimension, are not decayed."""
    decayed = [value for value in network.parameters() if value.ndim > 1]
    plain = [value for value in network.parameters() if value.ndim <= 1]
    return [{'params': decayed, 'weight_decay': weight_decay},
            {'params': plain, 'weight_decay': 0.0}]


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


@dataclass(frozen=True)
class RunFolder:
    """
    The files of one run.

    :param path: of the folder
    """

    path: Path

    @property
    def state(self) -> Path:
        """Return the path of the saved state."""
        return self.path / STATE

    @property
    def log(self) -> Path:
        """Return the path of the log, one JSON object a line."""
        return self.path / LOG

    def read_state(self) -> Dict[str, Any]:
        """
        Return the saved state.

        :raises ConfigError: if there is none, or it is damaged
        """
        if not self.state.is_file():
            raise ConfigError(f'{self.path}: expected the folder of a training run, '
                              f'got no {STATE}; run train first')
        try:
            return torch.load(self.state, map_location='cpu', weights_only=True)
        except Exception as error:
            reason = ' '.join(str(error).split())[:200]
            raise ConfigError(f'{self.state}: expected a state that train saved, '
                              f'got: {reason}') from None

    def write_state(self, state: Dict[str, Any]) -> None:
        """Replace the saved state, whole or not at all."""
        partial = self.state.with_suffix('.partial')
        torch.save(state, partial)
        os.replace(partial, self.state)

    def read_log(self) -> List[Dict[str, Any]]:
        """Return the log's entries; a line that was cut off is left out."""
        entries = []
        for line in self.log.read_text().splitlines() if self.log.is_file() else ():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return entries

    def write_log(self, entries: List[Dict[str, Any]]) -> None:
        """Replace the log."""
        self.log.write_text(''.join(json.dumps(entry) + '\n' for entry in entries))

    def append_log(self, entry: Dict[str, Any]) -> None:
        """Add one entry to the log."""
        with open(self.log, 'a') as file:
            file.write(json.dumps(entry) + '\n')


class Meter:
    """Mean losses and speed since they were last read."""

    def __init__(self):
        """Start the clock."""
        self._start()

    def _start(self) -> None:
        self._sums, self._steps, self._images = {}, 0, 0
        self._since = time.perf_counter()

    def add(self, losses: Dict[str, float], images: int) -> None:
        """Count one step."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._images += images

    def read(self, step: int) -> Dict[str, Any]:
        """Return a log entry, and start anew."""
        speed = self._images / (time.perf_counter() - self._since)
        entry = {'step': step, 'kind': 'train', 'images_per_second': round(speed, 2)}
        entry.update({name: round(value / self._steps, 5) for name, value in self._sums.items()})
        self._start()
        return entry


class Trainer:
    """
    One training run: network, average, optimiser and the step they are at.

    :param recipe: what to do
    :param dataset: of samples to learn
    :param folder: where state and log go; a state found there is gone on with
    :param provenance: of the data, for the card
    :raises ConfigError: if the state there belongs to another recipe
    """

    def __init__(self, recipe: Recipe, dataset, folder: RunFolder,
                 provenance: Mapping[str, Any]):
        """Build everything, and load the state if there is one."""
        self.recipe = recipe
        self.card = card_of(recipe)
        self.folder = folder
        torch.manual_seed(recipe.seed)
        self.network = build_network(self.card)
        if recipe.pretrained and not folder.state.is_file():
            load_pretrained_trunk(self.network)
        for module in self.network.modules():
            # torchvision's 0.01 is for runs of a million steps; in a few thousand it lags behind.
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = recipe.norm_momentum
        self.network.to(memory_format=torch.channels_last)
        self.average = Average(self.network, recipe.ema_decay)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.network, recipe.weight_decay),
                                           lr=recipe.learning_rate)
        self.loss = MultiTaskLoss(self.card.layout, self.card.architecture.strides,
                                  loss_weights_of(recipe))
        image_input = self.card.input
        self._deployed = DeployNetwork(self.network, image_input.mean, image_input.std)
        self._dataset = dataset
        self._provenance = dict(provenance)
        self.step = 0
        if folder.state.is_file():
            self._load(folder.read_state())

    def _load(self, state: Dict[str, Any]) -> None:
        if recipe_from_mapping(state['recipe']) != self.recipe:
            raise ConfigError(f'{self.folder.path}: expected a run of this recipe, got one of '
                              'another; give the run another --output or remove the folder')
        self.network.load_state_dict(state['network'])
        self.average.network.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.step = state['step']
        self.folder.write_log([entry for entry in self.folder.read_log()
                               if entry['step'] <= self.step])

    def save(self) -> None:
        """Write the state."""
        self.folder.write_state({
            'recipe': recipe_to_json(self.recipe), 'step': self.step,
            'data': self._provenance,
            'network': self.network.state_dict(), 'average': self.average.network.state_dict(),
            'optimizer': self.optimizer.state_dict()})

    def batches(self, workers: int) -> DataLoader:
        """Return the batches from the current step to the last."""
        recipe = self.recipe
        pad_value = self.card.input.pad_value
        stream = TrainingStream(self._dataset, augmentations_of(recipe, pad_value),
                                recipe.side_at, recipe.batch_size, recipe.steps, pad_value,
                                recipe.seed)
        return DataLoader(stream, batch_size=None, sampler=range(self.step, recipe.steps),
                          num_workers=workers, worker_init_fn=_start_worker,
                          prefetch_factor=4 if workers else None)

    def learn(self, batch: Batch) -> Dict[str, float]:
        """
        Take one optimiser step and return the weighted losses.

        :raises PerceptionError: if the loss is not finite
        """
        for group in self.optimizer.param_groups:
            group['lr'] = self.recipe.learning_rate_at(self.step)
        self._deployed.train()
        height, width = batch.images.shape[1:3]
        losses = self.loss(self._deployed(batch.images), batch.targets, height, width)
        values = {name: float(value.detach()) for name, value in losses.items()}
        if values['total'] != values['total'] or values['total'] == float('inf'):
            raise PerceptionError(
                f'step {self.step}: expected a finite loss, got {values}; lower learning_rate')
        self.optimizer.zero_grad(set_to_none=True)
        losses['total'].backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.average.update(self.network, self.step)
        self.step += 1
        return values

    def engine(self) -> Engine:
        """Return an engine that runs the averaged weights."""
        image_input = self.card.input
        deployed = DeployNetwork(self.average.network, image_input.mean, image_input.std)
        return Engine(self.card, TorchBackend(deployed.eval(), 'cpu'))


def provenance_of(dataset: VocDataset) -> Dict[str, Any]:
    """Return where the learnt pictures are from, with what the data set says of itself."""
    path = dataset.root / DESCRIPTION
    document = json.loads(path.read_text()) if path.is_file() else {}
    own = {name: document[name] for name in OF_ITSELF if name in document}
    split = document.get('splits', {}).get(dataset.split, {})
    return {**own, 'train_split': dataset.split, 'train_frames': len(dataset),
            **({'train_seed': split['seed']} if 'seed' in split else {})}


def train(recipe: Recipe, data: Path, folder: Path, workers: int = 1) -> Path:
    """
    Run the recipe to its end and return the run's folder.

    Call it again after an interruption and it goes on from the last saved state.

    :param recipe: what to do
    :param data: root of a data set in VOC layout
    :param folder: where state, log and plots go
    :param workers: processes that read and augment; 0 does so in this one
    :raises ConfigError: if the recipe is wrong, or the folder holds a run of another
    :raises DatasetError: if the data set is wrong
    """
    card = card_of(recipe)
    dataset = VocDataset(data, recipe.train_split, card.classes)
    validation = VocDataset(data, recipe.validation_split, card.classes)
    run = RunFolder(Path(folder))
    run.path.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, dataset, run, provenance_of(dataset))
    watched = [validation[index]
               for index in range(min(recipe.validation_frames, len(validation)))]
    meter = Meter()
    with tqdm(total=recipe.steps, initial=trainer.step, unit='step', desc=recipe.name) as bar:
        for batch in trainer.batches(workers):
            meter.add(trainer.learn(batch), len(batch.images))
            bar.update()
            last = trainer.step == recipe.steps
            if trainer.step % LOG_EVERY == 0 or last:
                entry = meter.read(trainer.step)
                run.append_log(entry)
                bar.set_postfix({name: f'{value:.3g}' for name, value in entry.items()
                                 if name in ('total', 'images_per_second')})
            if trainer.step % recipe.validate_every == 0 or last:
                metrics = evaluate(trainer.engine().infer, watched, card)
                run.append_log({'step': trainer.step, 'kind': 'validation',
                                **headline(metrics)})
                bar.write(f'step {trainer.step}: ' + ', '.join(
                    f'{name} {value:.3f}' for name, value in headline(metrics).items()))
                plot_run(run.read_log(), run.path)
            if trainer.step % recipe.save_every == 0 or last:
                trainer.save()
    return run.path


def export_run(folder: Path, output: Path) -> Checkpoint:
    """
    Write a run's averaged weights as a weights folder; the run need not have ended.

    :param folder: of the run
    :param output: where to; weights there are replaced
    :raises ConfigError: if the folder holds no run
    :raises ExportError: if the ONNX graph computes something else than torch
    """
    run = RunFolder(Path(folder))
    state = run.read_state()
    recipe = recipe_from_mapping(state['recipe'])
    trained = [entry for entry in run.read_log() if entry['kind'] == 'train']
    card = replace(
        card_of(recipe), training={
            'recipe': state['recipe'], 'step': state['step'],
            'samples_seen': state['step'] * recipe.batch_size,
            'minutes': round(sum(LOG_EVERY * recipe.batch_size / entry['images_per_second']
                                 for entry in trained) / 60, 1),
            'torch': torch.__version__},
        data=state['data'])
    network = build_network(card)
    network.load_state_dict(state['average'])
    return export(network, card, output)

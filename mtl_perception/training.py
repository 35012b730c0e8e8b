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
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import cv2
from mtl_perception.backends.torch_backend import load_network, TorchBackend
from mtl_perception.card import Architecture, Card, ImageInput
from mtl_perception.checkpoint import Checkpoint, load_checkpoint
from mtl_perception.data.batches import Batch, TrainingStream
from mtl_perception.data.classes import class_names
from mtl_perception.data.datasets import open_source
from mtl_perception.data.description import read_description
from mtl_perception.data.plan import plan_batches
from mtl_perception.data.sample import Sample
from mtl_perception.data.survey import require_complete, Survey, survey, without
from mtl_perception.distillation import Distillation
from mtl_perception.distributed import (
    from_first, mean_over_processes, process_group, rank, wait_for_all, world_size)
from mtl_perception.engine import Engine
from mtl_perception.errors import ConfigError, DatasetError, PerceptionError
from mtl_perception.evaluation import evaluate, headline
from mtl_perception.export import export
from mtl_perception.initial_weights import load_matching, load_trunk
from mtl_perception.losses import LossWeights, MultiTaskLoss
from mtl_perception.network import build_network, NETWORKS
from mtl_perception.network.deploy import DeployNetwork
from mtl_perception.plots import plot_run
from mtl_perception.recipe import Recipe, recipe_from_mapping, recipe_to_json, TASKS
from mtl_perception.run_folder import Meter, RunFolder
from mtl_perception.run_report import training_minutes, write_run_report
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

LOG_EVERY = 20


def card_of(recipe: Recipe) -> Card:
    """
    Return the card of the weights that ``recipe`` makes, without figures.

    :raises ConfigError: if the recipe names an unknown network or label set
    """
    if recipe.network not in NETWORKS:
        raise ConfigError(f'recipe: network: expected one of {", ".join(sorted(NETWORKS))}, '
                          f'got {recipe.network!r}')
    return Card(
        name=recipe.name,
        architecture=Architecture(recipe.network, NETWORKS[recipe.network].strides),
        input=ImageInput(recipe.input_side, recipe.input_side),
        classes=class_names(recipe.classes))


def loss_weights_of(recipe: Recipe) -> LossWeights:
    """
    Return the weights of the loss's parts.

    :raises ConfigError: if the recipe names a part that there is not
    """
    try:
        return LossWeights(**recipe.loss_weights)
    except TypeError as error:
        raise ConfigError(f'recipe: loss_weights: {error}') from None


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


def parameter_groups(network: nn.Module, weight_decay: float) -> List[Dict[str, Any]]:
    """Return AdamW's groups: norms and biases, which have one dimension, are not decayed."""
    decayed = [value for value in network.parameters() if value.ndim > 1]
    plain = [value for value in network.parameters() if value.ndim <= 1]
    return [{'params': decayed, 'weight_decay': weight_decay},
            {'params': plain, 'weight_decay': 0.0}]


def load_teacher(path: str, card: Card) -> nn.Module:
    """
    Return the network of a weights folder, from pictures to prediction tensor, frozen.

    :param path: a name in weights/, or a path
    :param card: of the network that is to learn from it
    :raises ConfigError: if the teacher's prediction tensor is laid out in another way
    """
    checkpoint = load_checkpoint(path)
    given = checkpoint.card
    if (given.classes, given.architecture.strides) != (card.classes, card.architecture.strides):
        raise ConfigError(f'recipe: teachers: expected weights with the same classes and '
                          f'strides, got {path}')
    network = DeployNetwork(load_network(checkpoint), given.input.mean, given.input.std)
    return network.eval().requires_grad_(False)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


class Trainer:
    """
    One training run: network, average, optimiser and the step they are at.

    :param recipe: what to do
    :param datasets: of the recipe's sources, in their order
    :param folder: where state and log go; a state found there is gone on with
    :param provenance: of the data, for the card
    :param device: that computes; on a GPU the network runs in bfloat16
    :raises ConfigError: if the state there belongs to another recipe
    """

    def __init__(self, recipe: Recipe, datasets: Sequence[Sequence[Sample]], folder: RunFolder,
                 provenance: Mapping[str, Any], device: torch.device = torch.device('cpu')):
        """Build everything, and load the state if there is one."""
        self.recipe = recipe
        self.card = card_of(recipe)
        self.folder = folder
        self.step = 0
        self._device = device
        self._provenance = dict(provenance)
        self._plan = plan_batches(recipe, datasets, self.card.input.pad_value)
        torch.manual_seed(recipe.seed)
        self.network = build_network(self.card)
        state = folder.read_state() if folder.state.is_file() else None
        if state is None and recipe.start_from:
            load_matching(self.network, load_checkpoint(recipe.start_from))
        if state is None and recipe.trunk:
            load_trunk(self.network, recipe.trunk)
        self.norms = [module for module in self.network.modules()
                      if isinstance(module, nn.BatchNorm2d)]
        for norm in self.norms:
            # torchvision's 0.01 is for runs of a million steps; in a few thousand it lags behind.
            norm.momentum = recipe.norm_momentum
        self.network.to(device, memory_format=torch.channels_last)
        self.average = Average(self.network, recipe.ema_decay)
        self.loss = MultiTaskLoss(self.card.layout, self.card.architecture.strides,
                                  loss_weights_of(recipe), mean_over_processes)
        self._distillation = Distillation(self.card.layout, self.card.architecture.strides)
        self._model = self._deploy(self.network)
        if world_size() > 1:
            self._model = DistributedDataParallel(self._model)
        self._begin_stage(0)
        if state is not None:
            self._load(state)

    def _deploy(self, network: nn.Module) -> nn.Module:
        image_input = self.card.input
        return DeployNetwork(network, image_input.mean, image_input.std).to(self._device)

    def _begin_stage(self, number: int) -> None:
        """Take a fresh optimiser, and the teachers that this stage keeps to."""
        recipe, stage = self.recipe, self.recipe.stages[number]
        self._number = number
        self._found = deepcopy(self.average.network)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.network, recipe.weight_decay),
                                           lr=recipe.learning_rate)
        self._teachers: Dict[str, nn.Module] = {}
        if stage.distillation > 0:
            earlier = dict.fromkeys(recipe.earlier_tasks(number), self._deploy(self._found))
            named = {task: load_teacher(path, self.card).to(self._device)
                     for task, path in recipe.teachers.items()}
            self._teachers = {**earlier, **named}

    def _load(self, state: Dict[str, Any]) -> None:
        if recipe_from_mapping(state['recipe']) != self.recipe:
            raise ConfigError(f'{self.folder.path}: expected a run of this recipe, got one of '
                              'another; give the run another --output or remove the folder')
        self._begin_stage(state['stage'])
        self._found.load_state_dict(state['found'])
        self.network.load_state_dict(state['network'])
        self.average.network.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.step = state['step']
        self.folder.write_log([entry for entry in self.folder.read_log()
                               if entry['step'] <= self.step])

    def save(self) -> None:
        """Write the state."""
        self.folder.write_state({
            'recipe': recipe_to_json(self.recipe), 'step': self.step, 'stage': self._number,
            'data': self._provenance, 'found': self._found.state_dict(),
            'network': self.network.state_dict(), 'average': self.average.network.state_dict(),
            'optimizer': self.optimizer.state_dict()})

    def batches(self, workers: int) -> DataLoader:
        """Return the batches from the current step to the last."""
        stream = TrainingStream(self._plan, self.recipe.steps, self.card.input.pad_value,
                                self.recipe.seed, rank(), world_size())
        return DataLoader(stream, batch_size=None, sampler=range(self.step, self.recipe.steps),
                          num_workers=workers, worker_init_fn=_start_worker,
                          pin_memory=self._device.type == 'cuda',
                          prefetch_factor=4 if workers else None)

    def _losses(self, batch: Batch) -> Dict[str, torch.Tensor]:
        """Return the weighted parts of the loss and their sum, ``total``."""
        height, width = batch.images.shape[1:3]
        with torch.autocast(self._device.type, torch.bfloat16,
                            enabled=self._device.type == 'cuda'):
            prediction = self._model(batch.images)
            with torch.no_grad():
                answers = {teacher: teacher(batch.images)
                           for teacher in set(self._teachers.values())}
        prediction = prediction.float()
        losses = self.loss(prediction, batch.targets, height, width)
        weight = self.recipe.stages[self._number].distillation
        kept = [self._distillation(task, prediction, answers[teacher].float(), height, width)
                for task, teacher in self._teachers.items()]
        losses['distillation'] = weight * sum(kept, start=prediction.new_zeros(()))
        losses['total'] = losses['total'] + losses['distillation']
        return losses

    def learn(self, batch: Batch) -> Dict[str, float]:
        """
        Take one optimiser step and return the weighted losses.

        :raises PerceptionError: if the loss is not finite
        """
        number, _ = self.recipe.stage_at(self.step)
        if number != self._number:
            self._begin_stage(number)
        for group in self.optimizer.param_groups:
            group['lr'] = self.recipe.learning_rate_at(self.step)
        self._model.train()
        if self.recipe.stages[number].freeze_norm:
            for norm in self.norms:
                norm.eval()
        losses = self._losses(batch.to(self._device))
        values = mean_over_processes(torch.stack([loss.detach() for loss in losses.values()]))
        values = dict(zip(losses, values.tolist()))
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

    def ends_stage(self) -> bool:
        """Tell whether the last step was the last of its stage."""
        number, start = self.recipe.stage_at(self.step - 1)
        return self.step == start + self.recipe.stages[number].steps

    def engine(self) -> Engine:
        """Return an engine that runs the averaged weights."""
        network = deepcopy(self.average.network).to('cpu')
        image_input = self.card.input
        deployed = DeployNetwork(network, image_input.mean, image_input.std)
        return Engine(self.card, TorchBackend(deployed.eval(), 'cpu'))


def provenance_of(recipe: Recipe, data: Path, frames: Sequence[int]) -> Dict[str, Any]:
    """
    Return where the learnt pictures are from, with what the data sets say of themselves.

    :param data: root that the sources' paths start from
    :param frames: pictures of each source
    """
    sources = []
    for source, count in zip(recipe.sources, frames):
        own, split = read_description(data / source.path, source.split)
        sources.append({
            **own, 'format': source.format, 'split': source.split, 'frames': count,
            'tasks': list(source.tasks), **({'seed': split['seed']} if 'seed' in split else {})})
    return {'sources': sources}


def open_datasets(recipe: Recipe, data: Path, card: Card, workers: int
                  ) -> List[Sequence[Sample]]:
    """
    Return the data sets of the recipe's sources, every picture of them read once.

    :param data: root that the sources' paths start from
    :param workers: processes that read
    :raises DatasetError: if one is missing or wrong, or a class has no example
    """
    datasets = [open_source(source, data, card.classes) for source in recipe.sources]
    surveys = from_first(lambda: [_survey(source.path, dataset, card, workers)
                                  for source, dataset in zip(recipe.sources, datasets)])
    if recipe.skip_bad:
        datasets = [without(dataset, found.bad_indices)
                    for dataset, found in zip(datasets, surveys)]
        surveys = [found.readable for found in surveys]
        for source, dataset in zip(recipe.sources, datasets):
            if not len(dataset):
                raise DatasetError(f'{source.path}: expected at least one picture that can be '
                                   'read, got none')
    learnt = [task for task in TASKS if any(task in stage.tasks for stage in recipe.stages)]
    require_complete(surveys, card.classes, learnt, recipe.name)
    return datasets


def open_validation(recipe: Recipe, data: Path, card: Card, workers: int) -> Sequence[Sample]:
    """
    Return the pictures that the recipe watches, each read once.

    :param data: root that the source's path starts from
    :param workers: processes that read
    :raises DatasetError: if it is missing or a picture cannot be read
    """
    dataset = open_source(recipe.validation, data, card.classes)
    found = from_first(lambda: _survey(recipe.validation.path, dataset, card, workers))
    require_complete([found], card.classes, (), recipe.name)
    return dataset


def _survey(name: str, dataset: Sequence[Sample], card: Card, workers: int) -> Survey:
    found = survey(dataset, card.classes, workers,
                   lambda indices: tqdm(indices, unit='picture', desc=f'check {name}'))
    if found.bad:
        tqdm.write(f'{name}: {len(found.bad)} of {found.frames + len(found.bad)} pictures cannot '
                   f'be read; the first: {found.bad[0][1]}')
    return found


def train(recipe: Recipe, data: Path, folder: Path, workers: int = 1,
          device: torch.device = torch.device('cpu')) -> Path:
    """
    Run the recipe to its end and return the run's folder.

    Call it again after an interruption and it goes on from the last saved state. Started by
    ``torchrun``, the processes share every batch, and the first one writes.

    :param recipe: what to do
    :param data: root that the paths of the recipe's sources start from
    :param folder: where state, log, curves and report go
    :param workers: processes that read and augment; 0 does so in this one
    :param device: that computes
    :raises ConfigError: if the recipe is wrong, or the folder holds a run of another
    :raises DatasetError: if a data set is wrong
    """
    with process_group(device) as device:
        return _train(recipe, Path(data), RunFolder(Path(folder)), workers, device)


def _train(recipe: Recipe, data: Path, run: RunFolder, workers: int, device: torch.device
           ) -> Path:
    card = card_of(recipe)
    first = rank() == 0
    validation = open_validation(recipe, data, card, workers)
    datasets = open_datasets(recipe, data, card, workers)
    run.path.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, datasets, run,
                      provenance_of(recipe, data, [len(dataset) for dataset in datasets]), device)
    meter = Meter()
    with tqdm(total=recipe.steps, initial=trainer.step, unit='step', desc=recipe.name,
              disable=not first) as bar:
        for batch in trainer.batches(workers):
            meter.add(trainer.learn(batch), len(batch.images) * world_size())
            bar.update()
            if first:
                _note(trainer, validation, meter, bar)
    wait_for_all()
    return run.path


def _note(trainer: Trainer, validation: Sequence[Sample], meter: Meter, bar: tqdm) -> None:
    """Log, validate, draw and save where the step just taken asks for it."""
    recipe, run, step = trainer.recipe, trainer.folder, trainer.step
    ends = trainer.ends_stage()
    if step % LOG_EVERY == 0 or ends:
        entry = meter.read(step)
        run.append_log(entry)
        bar.set_postfix({name: f'{value:.3g}' for name, value in entry.items()
                         if name in ('total', 'images_per_second')})
    if step % recipe.validate_every == 0 or ends:
        metrics = evaluate(trainer.engine().infer, validation, trainer.card)
        stage = recipe.stages[recipe.stage_at(step - 1)[0]].name
        run.append_log({'step': step, 'kind': 'validation', 'stage': stage, 'ends_stage': ends,
                        **headline(metrics)})
        bar.write(f'step {step} ({stage}): ' + ', '.join(
            f'{name} {value:.3f}' for name, value in headline(metrics).items()))
        plot_run(run.read_log(), run.path)
        write_run_report(recipe, run.read_log(), run.path)
    if step % recipe.save_every == 0 or ends:
        trainer.save()


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
    card = replace(
        card_of(recipe), training={
            'recipe': state['recipe'], 'step': state['step'],
            'samples_seen': state['step'] * recipe.batch_size,
            'minutes': round(training_minutes(run.read_log(), recipe.batch_size), 1),
            'torch': torch.__version__},
        data=state['data'])
    network = build_network(card)
    network.load_state_dict(state['average'])
    return export(network, card, output)

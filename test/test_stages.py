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
"""Training in stages: what is learnt, what is kept, and that a cut-off run goes on the same."""

from dataclasses import replace

from mtl_perception.data.voc import VocDataset
from mtl_perception.errors import ConfigError, DatasetError
from mtl_perception.recipe import Augmentation, Recipe, Resolution, Source, Stage, TASKS
from mtl_perception.run_folder import RunFolder
from mtl_perception.training import card_of, export_run, train, Trainer
import pytest
from squares import CLASSES, write_squares
import torch

RECIPE = Recipe(
    name='stages', network='unified', classes=CLASSES, sources=(Source('voc', '.'),),
    validation=Source('voc', '.', 'val'), input_side=64, batch_size=4,
    stages=(Stage('masks', 3, ('segmentation',)), Stage('boxes', 3, ('detection',)),
            Stage('places', 3, ('classification',))),
    resolutions=(Resolution(0.0, 64),), warmup_steps=1, save_every=2, validate_every=100,
    augmentation=Augmentation(view=0))

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Return a data set of 12 pictures to learn and 3 to watch."""
    root = tmp_path_factory.mktemp('data')
    write_squares(root, 'train', 12)
    return write_squares(root, 'val', 3, seed=1)


def trainer_of(recipe, data, folder):
    """Return a trainer on the squares."""
    return Trainer(recipe, [VocDataset(data, 'train', card_of(recipe).classes)],
                   RunFolder(folder), {})


def protected(**changes):
    """Return the recipe with all stages but the first changed."""
    first, *others = RECIPE.stages
    return replace(RECIPE, stages=(first, *(replace(stage, **changes) for stage in others)))


def test_a_stage_learns_its_tasks_alone(data, tmp_path):
    """The losses of the others are zero, and the log says which stage it was."""
    trainer = trainer_of(RECIPE, data, tmp_path)
    losses = [trainer.learn(batch) for batch in trainer.batches(0)]
    parts = {'masks': {'segmentation', 'dice'}, 'boxes': {'box', 'quality', 'detection'},
             'places': {'classification'}}
    for number, stage in enumerate(RECIPE.stages):
        for loss in losses[3 * number:3 * number + 3]:
            assert {name for name, value in loss.items() if value > 0} == \
                parts[stage.name] | {'total'}


def test_every_stage_ends_with_figures_of_all_tasks(data, tmp_path):
    """From them follows what was forgotten."""
    train(RECIPE, data, tmp_path, workers=0)
    ends = [entry for entry in RunFolder(tmp_path).read_log() if entry.get('ends_stage')]
    assert [(entry['stage'], entry['step']) for entry in ends] == [
        ('masks', 3), ('boxes', 6), ('places', 9)]
    assert all({'map50', 'miou', 'top1'} <= set(entry) for entry in ends)
    report = (tmp_path / 'report.md').read_text()
    assert all(stage.name in report for stage in RECIPE.stages)


def test_replay_keeps_earlier_labels_in_every_batch(data, tmp_path):
    """Half of each batch carries what earlier stages learnt."""
    trainer = trainer_of(protected(replay=0.5), data, tmp_path)
    for step, batch in enumerate(trainer.batches(0)):
        boxes = batch.targets.has_boxes.sum().item()
        masks = (batch.targets.masks != 255).flatten(1).any(dim=1).sum().item()
        places = (batch.targets.image_classes >= 0).sum().item()
        assert (masks, boxes, places) == ((4, 0, 0), (2, 2, 0), (2, 2, 2))[step // 3]


def test_a_memory_of_two_pictures_replays_two_pictures(data, tmp_path):
    """What was not kept does not come back."""
    recipe = protected(replay=0.5, replay_frames=2)
    recipe = replace(recipe, augmentation=Augmentation(flip=0, view=0, colour=0, degrade=0))
    trainer = trainer_of(recipe, data, tmp_path)
    seen = {batch.targets.masks[sample].numpy().tobytes()
            for step, batch in enumerate(trainer.batches(0)) if step >= 3
            for sample in range(4) if (batch.targets.masks[sample] != 255).any()}
    assert len(seen) == 2


@pytest.mark.parametrize('freeze', (False, True), ids=('drifting', 'frozen'))
def test_frozen_norms_keep_their_statistics(data, tmp_path, freeze):
    """Only where the stage asks for it, and only from that stage on."""
    trainer = trainer_of(protected(freeze_norm=freeze), data, tmp_path)
    means = []
    for batch in trainer.batches(0):
        trainer.learn(batch)
        means.append(trainer.norms[0].running_mean.clone())
    assert not torch.equal(means[0], means[2])
    assert torch.equal(means[2], means[-1]) == freeze


def test_distillation_costs_nothing_until_the_network_moves(data, tmp_path):
    """The teacher is the network as the stage found it."""
    recipe = replace(protected(distillation=2.0, freeze_norm=True), ema_decay=0.0)
    trainer = trainer_of(recipe, data, tmp_path)
    losses = [trainer.learn(batch)['distillation'] for batch in trainer.batches(0)]
    assert losses[:3] == [0.0] * 3
    assert losses[4] > 0
    assert losses[7] > 0


def test_cut_off_between_and_within_stages_it_ends_the_same(data, tmp_path):
    """Optimiser, teacher and batches are those of a run that was never cut off."""
    recipe = protected(replay=0.5, distillation=1.0)
    whole = train(recipe, data, tmp_path / 'whole', workers=0)
    for step in (2, 3, 4, 6, 8):
        trainer = trainer_of(recipe, data, tmp_path / f'cut{step}')
        trainer.folder.path.mkdir()
        for batch in trainer.batches(0):
            trainer.learn(batch)
            if trainer.step == step:
                break
        trainer.save()
        again = train(recipe, data, tmp_path / f'cut{step}', workers=0)
        first, second = (RunFolder(path).read_state()['average'] for path in (whole, again))
        assert all(torch.equal(first[name], second[name]) for name in first), step


def test_weights_can_be_gone_on_from_and_taught_from(data, tmp_path):
    """Same classes start where the weights are; other classes start afresh in the last layer."""
    run = train(RECIPE, data, tmp_path / 'run', workers=0)
    weights = str(export_run(run, tmp_path / 'weights').folder)
    average = RunFolder(run).read_state()['average']
    same = trainer_of(replace(RECIPE, start_from=weights), data, tmp_path / 'same').network
    assert all(torch.equal(value, average[name]) for name, value in same.state_dict().items())
    more = {**CLASSES, 'classification': [*CLASSES['classification'], 'garden']}
    other = trainer_of(replace(RECIPE, start_from=weights, classes=more), data,
                       tmp_path / 'other').network.state_dict()
    assert {name for name in average if other[name].shape != average[name].shape} == {
        'predict.weight', 'predict.bias', 'place.weight', 'place.bias'}
    assert all(torch.equal(other[name], average[name]) for name in average
               if other[name].shape == average[name].shape)
    taught = replace(RECIPE, teachers={'detection': weights},
                     stages=(Stage('joint', 2, distillation=1.0),))
    trainer = trainer_of(taught, data, tmp_path / 'taught')
    assert trainer.learn(next(iter(trainer.batches(0))))['distillation'] > 0
    with pytest.raises(ConfigError, match='teachers: expected weights with the same classes'):
        trainer_of(replace(taught, classes=more), data, tmp_path / 'wrong')
    with pytest.raises(ConfigError, match='start_from: expected weights of the same network'):
        trainer_of(replace(RECIPE, network='report', start_from=weights), data, tmp_path / 'net')


def test_either_network_takes_the_trunk_of_the_other(data, tmp_path):
    """The trunk is MobileNetV3-Small in both; all else starts afresh."""
    run = train(replace(RECIPE, stages=(Stage('joint', 2),)), data, tmp_path / 'run', workers=0)
    weights = str(export_run(run, tmp_path / 'weights').folder)
    average = RunFolder(run).read_state()['average']
    for network in ('unified', 'report'):
        recipe = replace(RECIPE, network=network, trunk=weights)
        trunk = trainer_of(recipe, data, tmp_path / network).network.trunk_layers.state_dict()
        assert all(torch.equal(value, average[f'trunk.layers.{name}'])
                   for name, value in trunk.items())


def test_without_internet_imagenet_is_one_clear_line(data, tmp_path, monkeypatch):
    """The proxy refuses, as a robot's network does."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    with pytest.raises(ConfigError, match='expected to download torchvision weights') as caught:
        trainer_of(replace(RECIPE, trunk='imagenet'), data, tmp_path / 'run')
    assert '\n' not in str(caught.value)


def test_a_stage_without_a_source_is_refused(data, tmp_path):
    """Before anything is learnt."""
    recipe = replace(RECIPE, sources=(Source('voc', '.', tasks=('detection', 'segmentation')),))
    with pytest.raises(DatasetError, match='classification'):
        train(recipe, data, tmp_path, workers=0)
    with pytest.raises(ConfigError, match='places: expected a source with labels'):
        trainer_of(recipe, data, tmp_path)


def test_bad_pictures_stop_the_run_or_are_left_out(tmp_path, capfd):
    """As the recipe asks; either way they are counted aloud."""
    write_squares(tmp_path, 'train', 12)
    write_squares(tmp_path, 'val', 3, seed=1)
    (tmp_path / 'JPEGImages' / 'train_005.jpg').write_bytes(b'no picture')
    with pytest.raises(DatasetError, match='skip_bad: true') as caught:
        train(RECIPE, tmp_path, tmp_path / 'run', workers=0)
    assert '\n' not in str(caught.value)
    run = train(replace(RECIPE, skip_bad=True), tmp_path, tmp_path / 'run', workers=0)
    assert '1 of 12 pictures cannot be read' in ''.join(capfd.readouterr())
    assert RunFolder(run).read_state()['data']['sources'][0]['frames'] == 11


def test_the_tasks_are_those_of_the_three_heads():
    """A task that the loss does not know would silently not be learnt."""
    assert TASKS == ('detection', 'segmentation', 'classification')

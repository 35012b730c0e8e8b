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
"""A little of each check of ``make soak``, and that a check can fail."""

import os
from pathlib import Path
import sys

from mtl_perception.ros.parameters import PARAMETERS
from mtl_perception.ros.worker import FrameCounts
from node_client import Process
import pytest
from rcl_interfaces.msg import SetParametersResult as Result
import rclpy

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

import page_places  # noqa: E402, I100 tools/ is no package
import soak  # noqa: E402, I100
import soak_bench  # noqa: E402, I100
import soak_figures  # noqa: E402, I100
import soak_malformed  # noqa: E402, I100
import soak_page  # noqa: E402, I100
import soak_parameters  # noqa: E402, I100

LEAKY_NODE = str(Path(__file__).with_name('leaky_node.py'))
DEFAULTS = {item.name: item.ros_default for _, item in PARAMETERS}


@pytest.fixture(scope='module')
def soak_client(ros_log_dir):
    """Return a client in the tests' domain."""
    rclpy.init(args=[])
    with soak_bench.SoakClient() as client:
        yield client
    rclpy.try_shutdown()


@pytest.fixture
def bench(soak_client, checkpoint_name, tmp_path):
    """Return what a check needs."""
    return soak_bench.Bench(soak_client, checkpoint_name, tmp_path)


@pytest.mark.parametrize('name', soak.CHECKS)
def test_the_node_passes(bench, name):
    """The short form of each check, as ``soak.py --short`` runs it."""
    check = soak.CHECKS[name]
    row = check.run(bench, check.short)
    assert row.passed, f'{row.done}\nexpected: {row.expected}\nseen: {row.seen}'


class LeakyBench(soak_bench.Bench):
    """A bench for a node that does what a node must not do."""

    def start(self, name, *parameters, image=''):
        """Start the other node."""
        arguments = [part for value in (f'checkpoint:={self.checkpoint}', *parameters)
                     for part in ('-p', value)]
        topic = image or soak_bench.image_topic(name)
        return Process([sys.executable, LEAKY_NODE, '--ros-args', '-r', f'__node:={name}', '-r',
                        f'image:={topic}', *arguments])


def test_a_node_that_leaks_fails(soak_client, checkpoint_name, tmp_path):
    """Memory and descriptors are both noticed, and the answers are not blamed."""
    bench = LeakyBench(soak_client, checkpoint_name, tmp_path)
    row = soak.CHECKS['frames'].run(bench, 60)
    assert not row.passed and row.figures['answered'] == 60
    assert row.figures['growth_mb'] > soak_figures.GROWTH_MB
    assert '+60 descriptors' in row.seen


def test_a_check_that_breaks_off_is_a_failed_row(bench):
    """The run goes on with the next check and tells why."""
    broken = soak_bench.Bench(bench.client, str(bench.folder / 'none'), bench.folder)
    row = soak.run_check(soak.CHECKS['frames'], broken, 5)
    assert not row['passed'] and 'none' in row['seen'] and row['seconds'] > 0


def test_what_a_process_holds_is_flat_or_not():
    """One descriptor more is one too many."""
    own = soak_figures.Holdings(os.getpid())
    assert own.is_flat
    with open(os.devnull):
        own.sample()
        assert not own.is_flat and '+1 descriptors' in str(own)


@pytest.mark.parametrize('counts, expected', [
    (FrameCounts(received=4, processed=1, replaced=1, stale=1, invalid=1), True),
    (FrameCounts(received=2, processed=1), False),
    (FrameCounts(received=2, processed=1, pending=1), False)])
def test_an_account_is_balanced_or_not(counts, expected):
    """Nothing may be missing, nothing under way."""
    assert soak_figures.is_balanced(counts) == expected


@pytest.mark.parametrize('name, value, expected', [
    ('score_threshold', 0.5, True), ('score_threshold', 1, True), ('score_threshold', True, False),
    ('score_threshold', float('nan'), False), ('score_threshold', 1.1, False),
    ('max_detections', 5, True), ('max_detections', 5.0, False), ('max_detections', 0, False),
    ('detection', False, True), ('detection', 0, False), ('detection', None, False),
    ('class_id_format', 'index', True), ('class_id_format', 'INDEX', False),
    ('checkpoint', 'household', True), ('checkpoint', 'other', False), ('nope', 1, False)])
def test_what_a_parameter_may_be(name, value, expected):
    """By the table, with what is fixed while active."""
    assert soak_parameters.is_valid(name, value, DEFAULTS) == expected


def fuzz(**changes):
    """Return a fuzz of an imaginary node, with values that it was asked to have."""
    return soak_parameters.Fuzz(None, {**DEFAULTS, **changes})


@pytest.mark.parametrize('change, result, held, faults', [
    (('max_detections', 5), Result(successful=True), {'max_detections': 5}, 0),
    (('max_detections', 5), Result(successful=False, reason='max_detections: no'), {}, 2),
    (('max_detections', 5), Result(successful=True), {}, 1),
    (('max_detections', 0), Result(successful=False, reason='max_detections: expected 1'), {}, 0),
    (('max_detections', 0), Result(successful=False, reason=''), {}, 1),
    (('max_detections', 0), Result(successful=False, reason='two\nlines'), {}, 1),
    (('max_detections', 0), Result(successful=True), {'max_detections': 0}, 3)])
def test_a_wrong_answer_to_a_change_is_noticed(change, result, held, faults):
    """Wrongly taken, wrongly refused, refused without a reason, or taken and not kept."""
    trial = fuzz()
    verdicts = trial.foresee([change], is_atomic=True)
    trial.judge([change], verdicts, [result], {**DEFAULTS, **held})
    assert len(trial.faults) == faults, trial.faults


def test_all_or_none_of_several_changes_is_foreseen():
    """One wrong value holds the others back, but only if they are set together."""
    changes = [('max_detections', 5), ('score_threshold', 2.0)]
    together, apart = fuzz(), fuzz()
    assert together.foresee(changes, is_atomic=True) == [False] and together.values == DEFAULTS
    assert apart.foresee(changes, is_atomic=False) == [True, False]
    assert apart.values == {**DEFAULTS, 'max_detections': 5}


def test_some_of_the_pictures_made_up_are_good():
    """Else nothing would be said of those that are nearly right."""
    seen = []
    soak_malformed.each_example(soak_malformed.images(), 200, 0, lambda message: seen.append(
        soak_malformed._seems_good(message)))
    assert 0.05 < sum(seen) / len(seen) < 0.6


def document():
    """Return numbers as a run leaves them."""
    row = {'done': 'a', 'expected': 'b', 'seen': 'c | d', 'passed': True, 'seconds': 60.0,
           'figures': {'resident_mb': [100.0, 101.0]}}
    where = {'cpu': 'one', 'cores': 2, 'python': '3', 'weights': 'w', 'middleware': 'm',
             'transports': 'the defaults'}
    return {'conditions': where, 'checks': {
        'frames': row, 'flood': {**row, 'passed': False, 'figures': {}}}}


def test_the_page_says_what_the_numbers_say():
    """The page that is committed has a place for each table; a failure stands out."""
    text = (ROOT / 'docs' / soak.PAGE).read_text('utf-8')
    filled = soak_page.fill(text, document())
    assert '1 of 2 checks passed, in 2 minutes' in filled
    assert '| c / d |' in filled and '| **no**' in filled
    assert soak_page.fill(filled, document()) == filled
    with pytest.raises(ValueError, match='one place for gone'):
        page_places.fill_places(text, {'gone': ''})


def test_the_committed_page_is_made_of_the_committed_numbers():
    """Nobody edits a table by hand."""
    path = ROOT / 'docs' / soak.NUMBERS
    if not path.exists():
        pytest.skip('make soak has not been run yet')
    text = (ROOT / 'docs' / soak.PAGE).read_text('utf-8')
    assert soak_page.fill(text, soak_page.read(path)) == text


def test_the_picture_shows_something(tmp_path):
    """A line a check that has samples."""
    path = tmp_path / 'memory.png'
    soak_page.draw(document(), path)
    assert path.stat().st_size > 5000


def test_every_check_has_a_title():
    """The page names what the command names."""
    assert list(soak_page.TITLES) == list(soak.CHECKS)


def test_an_unknown_check_is_refused(capsys):
    """With the names of those that there are."""
    with pytest.raises(SystemExit):
        soak.main(['--only', 'nothing'])
    assert 'clock_jumps' in capsys.readouterr().err

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
"""The measurement of predict_bag: its bag, its figures and its bar."""

from mtl_perception.bag_run import BagOptions
from mtl_perception.bag_speed import measure, write_tour_bag
from mtl_perception.bags import open_bag
from mtl_perception.cli.bag_speed import main
from picture_bags import read_bag
import pytest

FRAMES = 600


@pytest.fixture(scope='module')
def tour(tmp_path_factory):
    return write_tour_bag(tmp_path_factory.mktemp('speed') / 'tour', FRAMES)


def test_the_bag_is_the_one_of_the_bar(tour):
    messages = read_bag(tour)['/camera/image_raw']
    assert len(messages) == FRAMES
    assert {(m.width, m.height, m.encoding) for _, m, _ in messages} == {(640, 480, 'bgr8')}
    assert len({data for _, _, data in messages}) > FRAMES // 2, 'not one picture all the time'


def test_a_bag_takes_not_much_more_than_its_engine(tour, tmp_path):
    """The bar is 1.15 with 1,000 frames; start-up and a busy machine weigh more here."""
    speeds = [measure(tour, tmp_path / f'seen_{run}') for run in range(2)]
    assert {speed.frames for speed in speeds} == {FRAMES}
    assert min(speed.ratio for speed in speeds) < 2.0, speeds
    with open_bag(tmp_path / 'seen_0') as reader:
        assert {c.msgcount for c in reader.connections} == {1, FRAMES}


def test_the_bag_is_worth_its_workers(tour, tmp_path):
    alone = measure(tour, tmp_path / 'alone', BagOptions(workers=1))
    assert alone.workers == 1 and alone.bag_s > alone.engine_s / 2


def test_the_command_tells_and_judges(capsys, tmp_path):
    status = main(['--frames', '20', '--folder', str(tmp_path)])
    output = capsys.readouterr().out
    assert '20 frames on' in output and 'ratio' in output and 'bar 1.15' in output
    ratio = float(output.split('ratio ')[1].split()[0])
    assert status == (0 if ratio <= 1.15 else 1) or abs(ratio - 1.15) < 0.01
    assert list(tmp_path.iterdir()) == []

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
"""Every command of the README and of docs/ is run, in the order of its page, on small data."""

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

import cv2
from mtl_perception.bags import bag_message_builder, bag_types, new_bag
from mtl_perception.checkpoint import load_checkpoint
from mtl_perception.data.sources import open_frames
from mtl_perception.data.tour import household_tour
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')])
OUTPUTS = {'demo_out', 'datasets', 'runs', 'weights', 'predictions'}
PICTURES = 4
TIMEOUT_S = 300
LAUNCH = (ROOT / 'launch' / 'perception.launch.py').read_text(encoding='utf-8')
ENTRY_POINTS = (ROOT / 'setup.py').read_text(encoding='utf-8')

# What a command is given besides, so that it takes seconds and not hours.
SMALLER = {
    r'make dataset\b': 'FRAMES=2 SPLITS="train val test"',
    r'make evaluate\b': 'FRAMES=2',
    r'make train\b': 'FRAMES=40 SPLITS="train val" RECIPE=tiny.yaml',
    r'make bench\b': 'BENCH_FLAGS="--frames 3 --no-peers --no-dds"',
    r'\.venv/bin/benchmark\b': '--frames 3 --no-peers --no-dds',
    r'\.venv/bin/evaluate\b': '--resamples 2',
    r'\.venv/bin/compare\b': '--resamples 2',
    r'\.venv/bin/render_dataset\b': '--frames 2',
}
# What this test cannot run, and who does.
ELSEWHERE = {
    r'make test\b': 'runs this',
    r'make (study|bench-train|soak)\b': 'test_study, test_training_speed and test_soak run what '
                                        'they run, smaller',
    r'\.venv/bin/python -m mtl_perception\.cli\.bag_speed\b': 'test_bag_speed',
    r'\.venv/bin/python tools/soak\.py\b': 'test_soak',
    r'\S+ \S+ --cluster\b|\.venv/bin/predict_bag .* --cluster\b': 'test_bag_fleet',
    r'python3 -m mtl_perception\.ros\.recorder\b': 'test_recorder',
    r'colcon build\b': 'test_packaging',
    r'cd ~/ws|sudo |rviz2 |export ': 'a robot with an apt-installed ROS is needed',
}
PAGES_ELSEWHERE = {'TRAINING.md': 'test_training_page', 'STUDY.md': 'test_study'}


def commands(page: Path):
    """Return the commands of a page's bash fences, comments and continuations undone."""
    blocks = re.findall(r'^ *```bash\n(.*?)^ *```', page.read_text(encoding='utf-8'),
                        re.DOTALL | re.MULTILINE)
    lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
    return [line for raw in lines if (line := re.sub(r'(^|\s)#.*$', '', raw).strip())]


def first_match(table, command):
    """Return what the first of the table's patterns that fits has, or None."""
    return next((value for pattern, value in table.items() if re.match(pattern, command)), None)


def write_bag(path: Path, frames, card):
    """Write pictures as a camera's raw bag."""
    builder, types = bag_message_builder(card), bag_types()
    with new_bag(path) as writer:
        connection = writer.add_connection('/camera/image_raw', 'sensor_msgs/msg/Image',
                                           typestore=types)
        for index, frame in enumerate(frames):
            stamp = 1_700_000_000 * 10**9 + index * 10**8
            time = types.types['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9)
            header = types.types['std_msgs/msg/Header'](time, 'camera')
            writer.write(connection, stamp, types.serialize_cdr(
                builder.image(header, frame.image, 'bgr8'), 'sensor_msgs/msg/Image'))


@pytest.fixture
def house(tmp_path):
    """Return a folder that looks like a clone, with the files that the pages speak of."""
    for path in ROOT.iterdir():
        if path.name not in OUTPUTS and path.name != '.git':
            (tmp_path / path.name).symlink_to(path)
    for name in ('household', 'mine'):
        shutil.copytree(ROOT / 'weights' / 'household', tmp_path / 'weights' / name)
    frames = [frame for frame, _ in zip(open_frames(household_tour()), range(PICTURES))]
    (tmp_path / 'photos').mkdir()
    video = cv2.VideoWriter(str(tmp_path / 'kitchen.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10,
                            (frames[0].width, frames[0].height))
    for index, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / 'photos' / f'{index}.jpg'), frame.image)
        video.write(frame.image)
    video.release()
    card = load_checkpoint('household').card
    (tmp_path / 'last_night').mkdir()
    for bag in ('drive_17', 'last_night/kitchen', 'last_night/hall'):
        write_bag(tmp_path / bag, frames, card)
    (tmp_path / 'tiny.yaml').write_text(
        f'base: {ROOT}/config/train/household.yaml\nname: tiny\n'
        # In so few frames each kind of object is seen, but not each place.
        'sources: [{format: voc, path: ., split: train, tasks: [detection, segmentation]}]\n'
        'stages: [{name: joint, steps: 1, tasks: [detection, segmentation]}]\n'
        'input_side: 64\nbatch_size: 2\n'
        'resolutions: [{start: 0.0, side: 64}]\n'
        'validation: {format: voc, path: ., split: val, frames: 2,\n'
        '             tasks: [detection, segmentation]}\n')
    return tmp_path


def check_ros(command: str):
    """Hold a ros2 command to what the package has: it runs on a robot, and in test_launch."""
    words = command.split()
    if words[1:4:2] == ['launch', 'perception.launch.py'] and words[2] == 'mtl_perception':
        for word in words[4:]:
            if ':=' in word:
                assert f"'{word.partition(':=')[0]}'" in LAUNCH, command
    elif words[1:3] == ['run', 'mtl_perception']:
        assert f"'{words[3]}" in ENTRY_POINTS, command


@pytest.mark.timeout(900)
@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_work(page, house):
    if page.name in PAGES_ELSEWHERE:
        assert (ROOT / 'test' / f'{PAGES_ELSEWHERE[page.name]}.py').is_file()
        return
    datasets_needed = any('datasets/household' in command for command in commands(page))
    if datasets_needed and not any('make dataset' in command for command in commands(page)):
        run(house, 'make dataset')
    for command in commands(page):
        if command.startswith('ros2 '):
            check_ros(command)
        elif first_match(ELSEWHERE, command) is None:
            run(house, command)


def run(house: Path, command: str):
    """Run a command as a user would, made smaller where it would take long."""
    smaller = first_match(SMALLER, command)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(['bash', '-c', f'{command} {smaller or ""}'], cwd=house,
                          env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f'{command}: {done.stdout[-1000:]} {done.stderr[-2000:]}'


def test_every_link_of_the_pages_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', page.read_text(encoding='utf-8')):
            if not target.startswith(('http://', 'https://')):
                assert (page.parent / target).exists(), f'{page.name}: {target}'


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) < 250


def test_this_python_is_the_one_that_the_pages_call():
    """Otherwise the pages' .venv/bin would test something else."""
    assert Path(sys.prefix).resolve() == (ROOT / '.venv').resolve()

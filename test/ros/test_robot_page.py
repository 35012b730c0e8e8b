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
"""docs/ROBOT.md holds: its commands run as they stand there."""

from pathlib import Path
import re
import shlex
import shutil
import signal
import subprocess

from node_client import NodeProcess, perception, Process
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs' / 'ROBOT.md').read_text(encoding='utf-8')
BASH = '\n'.join(re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)).replace('\\\n', ' ')
LINES = [' '.join(line.split('  #')[0].split()) for line in BASH.splitlines() if line.strip()]
LAUNCHES = [line for line in LINES if line.startswith('ros2 launch mtl_perception')]
RECORDERS = [line for line in LINES if 'mtl_perception.ros.recorder' in line]
TO_A_NODE = [line for line in LINES if line.startswith(('ros2 param', 'ros2 topic'))]
LIFECYCLE = [line for line in LINES if line.startswith('ros2 lifecycle')]
TRIES = 5
# Of other packages, and not on every machine that runs this.
OTHERS = ('cd ', 'colcon ', 'sudo apt ', 'export FASTDDS', 'rviz2 ', 'ros2 bag ',
          'ros2 launch foxglove_bridge', 'ros2 run image_transport')
needs_ros2 = pytest.mark.skipif(shutil.which('ros2') is None, reason='no ros2 command here')


def run(line):
    """Run a command of ROS's command line, which is not to leave its daemon behind."""
    for _ in range(TRIES):
        done = subprocess.run([*shlex.split(line), '--no-daemon', '--spin-time', '2'],
                              capture_output=True, text=True, timeout=60)
        if done.returncode == 0:  # DDS announces who is there every three seconds only
            break
    assert done.returncode == 0, f'{line}: {done.stdout}{done.stderr}'
    return done.stdout


@pytest.fixture
def launchable():
    """Skip where the package is not installed the way ``ros2 launch`` finds it."""
    pytest.importorskip('launch_ros')
    index = pytest.importorskip('ament_index_python.packages')
    try:
        index.get_package_prefix('mtl_perception')
    except (LookupError, OSError):
        pytest.skip('mtl_perception is not in the ament index; build it with colcon')


def test_every_command_is_checked_here_or_of_another_package():
    """A new one in the page needs a place in this file."""
    known = [*LAUNCHES, *RECORDERS, *TO_A_NODE, *LIFECYCLE]
    assert [line for line in LINES
            if line not in known and not line.startswith(OTHERS)] == []
    assert len(LAUNCHES) > 5 and RECORDERS and TO_A_NODE and LIFECYCLE


@needs_ros2
@pytest.mark.parametrize('line', LAUNCHES)
def test_a_launch_line_starts_the_node(line, ros_log_dir, launchable, tmp_path):
    """And records or shows what it says, where the machine has what it takes."""
    if 'rviz:=true' in line and shutil.which('rviz2') is None:
        pytest.skip('no rviz2 here')
    with Process(shlex.split(line.replace('/data', str(tmp_path)))) as process:
        process.wait_for_output('listening')
        if 'record' in line:
            process.wait_for_output('recording into')
        else:
            image = re.search(r'image:=(\S+)', line)
            assert f'listening to {image.group(1) if image else "/image"}' in process.output
        assert process.end(signal.SIGINT)[0] == 0, process.output
    assert len(list(tmp_path.iterdir())) == ('record' in line)


@needs_ros2
def test_what_is_asked_of_a_node_is_answered(ros_log_dir, checkpoint_name):
    """Its parameter changes and its topics show."""
    with perception(f'checkpoint:={checkpoint_name}') as node, NodeProcess(
            'mtl_perception.ros.camera', str(ROOT / 'test' / 'data' / 'household_tour.mp4')):
        node.wait_for_output('listening')
        answers = [run(line) for line in TO_A_NODE]
    assert 'successful' in answers[0]
    assert 'detections:' in answers[1] and 'class_name:' in answers[2]


@needs_ros2
def test_the_lifecycle_is_walked(ros_log_dir, checkpoint_name):
    """A node that was told to wait is configured and activated."""
    with perception(f'checkpoint:={checkpoint_name}', 'autostart:=false') as node:
        answers = [run(line) for line in LIFECYCLE]
        node.wait_for_output('listening')
    assert 'active' in answers[-1] and 'inactive' not in answers[-1]


@pytest.mark.parametrize('line', RECORDERS)
def test_the_recorder_starts(line, ros_log_dir, tmp_path):
    """With the arguments of the page."""
    words = shlex.split(line)
    with NodeProcess(*words[words.index('-m') + 1:], '--out', str(tmp_path / 'run')) as process:
        process.wait_for_output('recording')
        assert process.end(signal.SIGINT)[0] == 0, process.output
    assert (tmp_path / 'run' / 'metadata.yaml').is_file()

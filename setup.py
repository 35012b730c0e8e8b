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
"""Install the package for ``ros2 run`` and ``ros2 launch`` (colcon), or for a venv (pip)."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'mtl_perception'
SHARE = f'share/{PACKAGE}'
COMMANDS = ('predict_bag', 'predict', 'compare', 'train', 'evaluate', 'export', 'benchmark',
            'render_dataset')


def folder_files(folder):
    """Return the ``data_files`` rows that put ``folder`` and all below it into the share."""
    rows = {}
    for path in sorted(Path(folder).rglob('*')):
        if path.is_file() and path.suffix != '.pyc' and not path.name.startswith('.'):
            rows.setdefault(f'{SHARE}/{path.parent.as_posix()}', []).append(path.as_posix())
    return list(rows.items())


setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={f'{PACKAGE}.comparison': ['templates/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        (f'{SHARE}/demo', [str(path) for path in Path('test/data').glob('household_tour.*')]),
        *folder_files('launch'),
        *folder_files('config'),
        *folder_files('weights'),
    ],
    install_requires=['setuptools'],
    extras_require={'test': ['pytest'], 'cluster': ['dask', 'distributed']},
    zip_safe=False,
    author='The mtl_perception authors',
    maintainer='The mtl_perception authors',
    maintainer_email='mtl_perception@example.com',
    description='One network for detection, segmentation and classification as a ROS 2 node',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            f'perception_node = {PACKAGE}.ros.node:main',
            f'camera_node = {PACKAGE}.ros.camera:main',
            *(f'{command} = {PACKAGE}.cli.{command}:main' for command in COMMANDS),
        ],
    },
)

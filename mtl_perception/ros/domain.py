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
"""A ROS domain that nobody on this machine is in."""

import random
import socket

from mtl_perception.errors import ConfigError

MAX_DOMAIN = 101  # above, the ports of DDS meet those that Linux gives out


def free_domain() -> int:
    """
    Return a random domain that nobody on this machine is in.

    :raises ConfigError: if there is none
    """
    domains = random.SystemRandom().sample(range(1, MAX_DOMAIN + 1), MAX_DOMAIN)
    for domain in domains:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Where a domain's first participant listens (DDSI-RTPS 2.3, section 9.6.1.1).
                probe.bind(('', 7400 + 250 * domain + 10))
                return domain
            except OSError:
                continue
    raise ConfigError('expected a free ROS domain from 1 to 101, got none; end some of the ROS '
                      'programs on this machine')

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
"""
Errors a user can act on.

Each message is one line: what was expected, what came, what to do. Commands print it and exit
with status 2; the node logs it, counts it and lives on. Everything else is a bug and keeps its
traceback.
"""


class PerceptionError(Exception):
    """Base of every error this package raises on bad input."""


class ConfigError(PerceptionError):
    """A parameter, recipe or command-line value is out of range or contradicts another."""


class ImageError(PerceptionError):
    """An image message or file cannot be turned into a picture."""


class CheckpointError(PerceptionError):
    """A weights folder is missing, incomplete, altered or does not fit its card."""


class DeviceError(PerceptionError):
    """The requested engine or device cannot be had on this machine."""


class ExportError(PerceptionError):
    """An exported model does not compute what the original computes."""


class DatasetError(PerceptionError):
    """A data set is missing, empty, or contradicts its labels."""


class SourceError(PerceptionError):
    """A picture folder, video, bag or camera cannot be opened or read."""

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
"""One network, three answers: detections, a segmentation mask and an image class."""

import os
import sys

# ONNX Runtime would leave a device id and a queue of events in the home folder; it looks at this
# when it is imported.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
# OpenVINO would tell its makers that it was imported and leave an id in the home folder; without
# this package it says nothing.
sys.modules.setdefault('openvino_telemetry', None)

__version__ = '0.1.0'

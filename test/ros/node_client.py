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
"""A node in a process of its own, and a client that talks to it over DDS."""

import array
from collections import defaultdict
import os
import signal
import subprocess
import sys
import tempfile
import time

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import (
    GetParameters, ListParameters, SetParameters, SetParametersAtomically)
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from vision_msgs.msg import Classification, Detection2DArray, LabelInfo

TIMEOUT_S = 20.0
SETTLE_S = 0.2
# The outputs that carry a header.
STAMPED = {'detections': Detection2DArray, 'segmentation': Image,
           'classification_scores': Classification}
PICTURES = {'segmentation_color': Image, 'overlay': Image}
RELIABILITY = {'reliable': ReliabilityPolicy.RELIABLE,
               'best_effort': ReliabilityPolicy.BEST_EFFORT}


class Process:
    """
    A command, started as a user starts it, with all that it prints kept.

    :param command: program and arguments
    :param environment: beside this process's own
    """

    def __init__(self, command, **environment):
        """Start it."""
        self._output = tempfile.TemporaryFile(mode='w+')
        self._process = subprocess.Popen(command, stdout=self._output, stderr=subprocess.STDOUT,
                                         env={**os.environ, **environment})

    def __enter__(self):
        """Return the process."""
        return self

    def __exit__(self, *_):
        """Leave no process behind, nor, where it can say goodbye, a trace of it in the domain."""
        if self.is_alive:
            try:
                self.end()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._output.close()

    @property
    def output(self):
        """Return all that it printed so far."""
        position = self._output.tell()
        self._output.seek(0)
        text = self._output.read()
        self._output.seek(position)
        return text

    @property
    def pid(self):
        """Return its process id."""
        return self._process.pid

    @property
    def is_alive(self):
        """Tell whether it still runs."""
        return self._process.poll() is None

    def wait(self, timeout_s=TIMEOUT_S):
        """Return its exit status once it ends by itself."""
        return self._process.wait(timeout_s)

    def end(self, number=signal.SIGINT):
        """Send a signal; return the exit status and the seconds that the end took."""
        start = time.monotonic()
        self._process.send_signal(number)
        status = self._process.wait(TIMEOUT_S)
        return status, time.monotonic() - start

    def wait_for_output(self, text, timeout_s=TIMEOUT_S):
        """Return once it has printed ``text``."""
        deadline = time.monotonic() + timeout_s
        while text not in self.output:
            assert time.monotonic() < deadline and self.is_alive, \
                f'expected {text!r}, got:\n{self.output}'
            time.sleep(0.05)


class NodeProcess(Process):
    """
    An executable of the package.

    :param module: with a ``main``
    :param arguments: of the command line
    :param environment: beside this process's own
    """

    def __init__(self, module, *arguments, **environment):
        """Start it."""
        super().__init__([sys.executable, '-m', module, *arguments], **environment)


def perception(*parameters, remap=(), node='perception', **environment):
    """Start the node with ``name:=value`` parameters and ``from:=to`` remappings."""
    arguments = ['--ros-args', '-r', f'__node:={node}']
    for value in parameters:
        arguments += ['-p', value]
    for rule in remap:
        arguments += ['-r', rule]
    return NodeProcess('mtl_perception.ros.node', *arguments, **environment)


def image_message(picture, stamp, frame_id='camera', encoding='bgr8'):
    """Return an Image of a uint8 array."""
    message = Image(height=picture.shape[0], width=picture.shape[1], encoding=encoding,
                    step=picture.nbytes // picture.shape[0])
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    message.data = array.array('B', np.ascontiguousarray(picture).tobytes())
    return message


class NodeClient:
    """Publishes images, collects what comes back, sets parameters, changes states."""

    def __init__(self):
        """Join the domain."""
        self._node = rclpy.create_node('test_client')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._subscriptions = {}
        self.received = defaultdict(list)

    def __enter__(self):
        """Return the client."""
        return self

    def __exit__(self, *_):
        """Leave the domain."""
        self._node.destroy_node()

    def now(self):
        """Return the time of now as a message."""
        return self._node.get_clock().now().to_msg()

    def spin(self, seconds):
        """Receive for some time."""
        self.wait_until(lambda: False, seconds, required=False)

    def wait_until(self, condition, timeout_s=TIMEOUT_S, required=True, what='condition'):
        """Receive until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0.0:
                assert not required, f'{what} not met within {timeout_s} s'
                return
            self._executor.spin_once(timeout_sec=min(left, 0.1))

    def listen(self, node, *extra):
        """Collect the outputs of ``node`` in ``received``, by short name."""
        types = {**STAMPED, 'classification': String,
                 **{name: PICTURES[name] for name in extra}}
        self.received.clear()
        self.stop_listening()
        for name, message_type in types.items():
            self.subscribe(name, message_type, f'/{node}/{name}', QoSProfile(depth=200))
        self.listen_to_diagnostics()
        self.wait_until(lambda: all(self._node.count_publishers(f'/{node}/{name}')
                                    for name in types), what=f'outputs of {node}')

    def listen_to_diagnostics(self):
        """Collect the diagnostics of all nodes."""
        self.subscribe('diagnostics', DiagnosticArray, '/diagnostics', QoSProfile(depth=200))

    def listen_to_labels(self, node):
        """Collect the latched label_info topics."""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for head in ('detections', 'segmentation', 'classification'):
            name = f'{head}/label_info'
            self.subscribe(name, LabelInfo, f'/{node}/{name}', latched)

    def subscribe(self, name, message_type, topic, qos):
        """Collect a topic in ``received`` under a short name."""
        if name in self._subscriptions:
            self.stop_listening(name)
        self._subscriptions[name] = self._node.create_subscription(
            message_type, topic, lambda message: self.received[name].append(message), qos)

    def stop_listening(self, *names):
        """Drop the named subscriptions, or all."""
        for name in names or list(self._subscriptions):
            self._node.destroy_subscription(self._subscriptions.pop(name))

    def camera(self, topic='/image', reliability='reliable', message_type=Image, depth=5):
        """Return a publisher that a node listens to."""
        publisher = self._node.create_publisher(
            message_type, topic, QoSProfile(depth=depth, reliability=RELIABILITY[reliability]))
        self.wait_until(publisher.get_subscription_count, what=f'a subscriber of {topic}')
        return publisher

    def publisher(self, message_type, topic, qos):
        """Return a publisher, whether somebody listens or not."""
        return self._node.create_publisher(message_type, topic, qos)

    def compressed_camera(self, topic):
        """Return a publisher of compressed images that a node listens to."""
        return self.camera(topic, message_type=CompressedImage)

    def remove(self, publisher):
        """Destroy a publisher."""
        self._node.destroy_publisher(publisher)

    def warm_up(self, camera):
        """Publish until a frame is answered on every output: both ends know each other."""
        blank = np.zeros((48, 64, 3), np.uint8)
        deadline = time.monotonic() + TIMEOUT_S
        answered = False
        while not answered:
            assert time.monotonic() < deadline, 'the node does not answer'
            stamp = self.now()
            camera.publish(image_message(blank, stamp))
            self.wait_until(lambda: self.has_answers(stamp), 0.5, required=False)
            answered = self.has_answers(stamp)
        self.spin(0.3)
        self.received.clear()

    def publish(self, camera, picture):
        """Publish a picture with the time of now."""
        camera.publish(image_message(picture, self.now()))

    def ask(self, camera, picture, **kwargs):
        """Publish a picture and return its stamp once every stamped output has answered it."""
        stamp = self.now()
        camera.publish(image_message(picture, stamp, **kwargs))
        self.wait_until(lambda: self.has_answers(stamp), what='an answer on every output')
        return stamp

    def has_answers(self, stamp):
        """Tell whether every stamped output has answered the frame of that time."""
        return all(any(message.header.stamp == stamp for message in self.received[name])
                   for name in STAMPED)

    def answer(self, name, stamp):
        """Return the one message of an output for the frame of that time."""
        found = [message for message in self.received[name] if message.header.stamp == stamp]
        assert len(found) == 1, f'{name}: expected one message, got {len(found)}'
        return found[0]

    def call(self, service_type, name, request, timeout_s=TIMEOUT_S):
        """Call a service and return its response, None when there is none."""
        service = self._node.create_client(service_type, name)
        assert service.wait_for_service(TIMEOUT_S), f'{name}: no such service'
        # A server that has not heard of this client yet drops the response.
        self.spin(SETTLE_S)
        future = service.call_async(request)
        self.wait_until(future.done, timeout_s, required=timeout_s == TIMEOUT_S,
                        what=f'response of {name}')
        self._node.destroy_client(service)
        return future.result()

    def set_parameters(self, node, **values):
        """Set parameters one by one; return the refusal of each, '' where there is none."""
        request = SetParameters.Request(parameters=[
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()])
        response = self.call(SetParameters, f'/{node}/set_parameters', request)
        return [result.reason if not result.successful else '' for result in response.results]

    def set_atomically(self, node, **values):
        """Set parameters all or none; return the refusal, '' where there is none."""
        request = SetParametersAtomically.Request(parameters=[
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()])
        result = self.call(SetParametersAtomically, f'/{node}/set_parameters_atomically',
                           request).result
        return result.reason if not result.successful else ''

    def get_parameters(self, node, *names):
        """Return parameter values."""
        response = self.call(GetParameters, f'/{node}/get_parameters',
                             GetParameters.Request(names=list(names)))
        return [Parameter.from_parameter_msg(
            ParameterMessage(name=name, value=value)).value
            for name, value in zip(names, response.values)]

    def all_parameters(self, node):
        """Return the names and values of all parameters of a node."""
        names = self.call(ListParameters, f'/{node}/list_parameters',
                          ListParameters.Request()).result.names
        return dict(zip(names, self.get_parameters(node, *names)))

    def response_times(self, node, count):
        """Return how long ``count`` requests for a parameter took, one after the other, in s."""
        name = f'/{node}/get_parameters'
        service = self._node.create_client(GetParameters, name)
        assert service.wait_for_service(TIMEOUT_S), f'{name}: no such service'
        self.spin(SETTLE_S)
        seconds = []
        for _ in range(count):
            start = time.monotonic()
            future = service.call_async(GetParameters.Request(names=['score_threshold']))
            self.wait_until(future.done, what=f'response of {name}')
            seconds.append(time.monotonic() - start)
        self._node.destroy_client(service)
        return seconds

    def change_state(self, node, transition, timeout_s=TIMEOUT_S):
        """Ask for a transition by its id; return whether it is known to have succeeded."""
        request = ChangeState.Request()
        request.transition.id = transition
        response = self.call(ChangeState, f'/{node}/change_state', request, timeout_s)
        return response is not None and response.success

    def state_changer(self, node):
        """Return a function that asks for transitions by their ids, many in a row."""
        name = f'/{node}/change_state'
        service = self._node.create_client(ChangeState, name)
        assert service.wait_for_service(TIMEOUT_S), f'{name}: no such service'
        self.spin(SETTLE_S)

        def change(transition):
            request = ChangeState.Request()
            request.transition.id = transition
            future = service.call_async(request)
            self.wait_until(future.done, what=f'transition {transition}')
            return future.result().success
        return change

    def state(self, node):
        """Return the name of the state that the node is in."""
        return self.call(GetState, f'/{node}/get_state', GetState.Request()).current_state.label

    def diagnostics(self, node='perception', part='pipeline'):
        """Return level, message and values of the next diagnostics."""
        self.received['diagnostics'].clear()
        self.wait_until(lambda: self._own_diagnostics(node, part), what='diagnostics')
        status = self._own_diagnostics(node, part)[-1]
        return status.level, status.message, {v.key: v.value for v in status.values}

    def _own_diagnostics(self, node, part):
        return [status for message in self.received['diagnostics'] for status in message.status
                if status.name == f'{node}: {part}']

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
"""A process that answers a parent's orders, one at a time, and ends when the parent does."""

from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
import signal
from typing import Any, Callable

from mtl_perception.errors import PerceptionError

END_S = 3.0


class HelperError(PerceptionError):
    """A helper ended or stays silent."""


def _run(serve: Callable, orders: Connection, arguments: tuple) -> None:
    with suppress(EOFError, ConnectionError):  # the parent is gone, however that ended
        try:
            serve(orders, *arguments)
        except PerceptionError as error:
            orders.send(error)


class HelperProcess:
    """
    A fresh Python process that runs one function.

    :param name: for people
    :param serve: of a module, called there with a connection and the arguments: it receives
        orders and sends the reply of each until ``recv`` raises EOFError
    :param arguments: that can be pickled
    """

    def __init__(self, name: str, serve: Callable, *arguments: Any):
        """Start it with this process's environment of now."""
        self.name = name
        context = get_context('spawn')
        self._orders, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(serve, theirs, arguments), name=name,
                                        daemon=True)
        resource_tracker.ensure_running()  # it would unblock the signal
        # Blocked signals stay so in a child: the terminal's Ctrl-C is the parent's alone.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def tell(self, order: Any) -> None:
        """
        Give an order.

        :raises HelperError: if the process has ended
        """
        try:
            self._orders.send(order)
        except OSError:
            self._ended()

    def reply(self, timeout_s: float) -> Any:
        """
        Return the reply to the oldest order that has none yet.

        :raises HelperError: if none comes
        :raises PerceptionError: what ended the process
        """
        try:
            if not self._orders.poll(timeout_s):
                raise HelperError(f'expected a reply of the {self.name} process within '
                                  f'{timeout_s:.0f} s, got none; is the machine busy?')
            reply = self._orders.recv()
        except (EOFError, OSError):
            self._ended()
        if isinstance(reply, PerceptionError):
            raise reply
        return reply

    def ask(self, order: Any, timeout_s: float) -> Any:
        """Give an order and return its reply; see ``tell`` and ``reply``."""
        self.tell(order)
        return self.reply(timeout_s)

    def end(self) -> None:
        """Let it end, and if it does not, kill it."""
        self._orders.close()
        self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ended(self) -> None:
        self._process.join(END_S)
        raise HelperError(f'expected the {self.name} process to work on, got its end with status '
                          f'{self._process.exitcode}; what it said is above') from None

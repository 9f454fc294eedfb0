"""`potluck`, but every way to unpickle ends the process at once, and what leaves for other nodes can be recorded.

The acceptance tests run their nodes through this. Worker processes are other processes and are not concerned.
With POTLUCK_TEST_RECORD=FILE every byte handed to the Network port is appended to that file, before TLS.
With POTLUCK_TEST_CLOCK_AHEAD=SECONDS the machine's wall clock is that far ahead, or behind.
"""

import os
import pickle  # noqa: TID251  in order to forbid it
import sys

import cloudpickle


def abort(*_args: object, **_kwargs: object) -> None:
    sys.stderr.write("a node tried to unpickle\n")
    sys.stderr.flush()
    os._exit(99)


for module in (pickle, cloudpickle):
    module.loads = module.load = abort
pickle.Unpickler = pickle._Unpickler = abort

if record := os.environ.get("POTLUCK_TEST_RECORD"):
    from potluck.overlay.transport.multicast import MulticastGroup
    from potluck.overlay.transport.tls import TlsStream

    recording = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def recorded(method):
        def send(self, data):
            os.write(recording, data)
            return method(self, data)

        return send

    TlsStream.send_now = recorded(TlsStream.send_now)
    MulticastGroup.send = recorded(MulticastGroup.send)

if ahead := os.environ.get("POTLUCK_TEST_CLOCK_AHEAD"):
    from potluck.node.system import SystemWallClock

    right = SystemWallClock.now_s
    SystemWallClock.now_s = lambda self: right(self) + float(ahead)

from potluck.cli import main  # noqa: E402  after the changes above

sys.exit(main())

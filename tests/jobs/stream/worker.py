"""`lookalike stream` with a recorder as its refresh path, as a process that tests can kill.

python -m tests.jobs.stream.worker FOLDER MODE [POINT]: the settings come from the environment; MODE is `bounded` or
`endless`; POINT is where the process kills itself, see `kill_at`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from artifacts.settings import Settings
from jobs.console import err
from jobs.stream.command import stream_events
from jobs.stream.kafka.consumer import EventConsumer
from jobs.stream.outbox import Outbox
from tests.jobs.stream.recorder import Recorder, kill_at


def main() -> None:
    folder, mode, point = Path(sys.argv[1]), sys.argv[2], " ".join(sys.argv[3:])
    apply = kill_at(point, "apply", Recorder(folder).apply)
    Outbox.send = kill_at(point, "outbox", Outbox.send)
    EventConsumer.commit = kill_at(point, "commit", EventConsumer.commit)
    stream_events(Settings().stream, apply, until_caught_up=mode == "bounded", console=err)


if __name__ == "__main__":
    main()

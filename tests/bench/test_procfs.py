"""What is read of threads."""

import os
import threading
import time
from pathlib import Path

from bench import procfs


def test_the_time_of_threads_is_told_by_their_names() -> None:
    name = "(busy) one"
    done = threading.Event()
    used = threading.Event()

    def burn() -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)
        while time.thread_time() < 0.1:
            pass
        used.set()
        done.wait()

    thread = threading.Thread(target=burn)
    thread.start()
    try:
        used.wait()
        assert procfs.thread_cpu_seconds(os.getpid(), (name,)) >= 0.05
        assert procfs.thread_cpu_seconds(os.getpid(), ("another",)) == 0.0
    finally:
        done.set()
        thread.join()

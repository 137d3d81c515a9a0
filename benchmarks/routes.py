"""Does a saturated slow route delay the fast one?  python -m benchmarks.routes [--json]

Two made classifiers burn real CPU time for each face, fast by default 1 ms and slow 500 ms, each in
a pool in a process of its own; slow's process has a lower priority, as Ray's replicas of the route
robust have on a CPU. A camera's client asks fast for one face after the other, in blocks that
alternate between a slow pool without work and one with more requests than it can answer, so that
other load on the machine falls on both alike.

    p50_ms, p99_ms   from request to answer of a face on fast, alone and beside the saturated pool
    ratio            p99 beside the saturated pool over p99 alone
    slow_faces       faces that the slow pool has answered meanwhile
    load             load average of the machine at start and end, over its cores
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import time
from concurrent.futures import Future
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import Any

from benchmarks.results import save_result

BLOCKS = 10
NICE = 10
WARM_UP = 50


class Burner:
    """Computes for so many seconds of CPU time a face, and answers with the certainty of a coin."""

    def __init__(self, face_s: float) -> None:
        self._face_s = face_s

    def classify(self, request: Any) -> Any:
        """See `pipeline.live.pool.Classifier`."""
        import numpy as np

        from models.scores import EmotionScores
        from pipeline.frames import ClassifyReply

        n = len(request.crops)
        until = time.thread_time() + n * self._face_s
        while time.thread_time() < until:
            sum(range(200))
        scores = EmotionScores(np.full((n, 8), 1 / 8, np.float32), np.ones(n, np.float32))
        return ClassifyReply(scores)


def serve(pipe: Connection, face_s: float, nice: int) -> None:
    """A replica in a process of its own: requests come and replies go over a pipe."""
    from pipeline.emotion_settings import RouteSettings
    from pipeline.frames import ScoredBy
    from pipeline.live.pool import ClassifierPool

    os.nice(nice)

    async def answer(pool: ClassifierPool, number: int, request: Any) -> None:
        try:
            reply: Any = await pool.classify(request)
        except Exception as error:  # noqa: BLE001 - goes to the caller
            reply = error
        pipe.send((number, reply))

    async def main() -> None:
        pool = ClassifierPool(Burner(face_s), RouteSettings(max_wait_ms=0, max_batch=1))
        tasks = set()
        while message := await asyncio.to_thread(pipe.recv):
            number, method, arguments = message
            if method == "names":
                pipe.send((number, {"": ScoredBy("made", "made")}))
            else:
                task = asyncio.create_task(answer(pool, number, *arguments))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        os._exit(0)  # what it still computes is not waited for

    asyncio.run(main())


class PipeReply:
    """See `pipeline.live.client.Reply`."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def is_ready(self) -> bool:
        """Whether the reply is there."""
        return self._future.done()

    def result(self, timeout_s: float) -> Any:
        """Wait for the reply."""
        return self._future.result(timeout_s)

    def cancel(self) -> None:
        """Nothing: the replica computes it all the same, as the pool is to be saturated."""


class PipeTransport:
    """Calls replicas that are processes of this one."""

    def __init__(self, replicas: dict[str, tuple[float, int]]) -> None:
        """`replicas`: the seconds a face takes, and the niceness, by name."""
        context = multiprocessing.get_context("spawn")
        self._lock, self._next = Lock(), 0
        self._futures: dict[int, Future[Any]] = {}
        self._pipes, self._processes = {}, []
        for name, (face_s, nice) in replicas.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, face_s, nice), daemon=True)
            process.start()
            self._pipes[name] = ours
            self._processes.append(process)
            Thread(target=self._receive, args=(ours,), daemon=True).start()

    def send(self, replica: str, method: str, *arguments: Any) -> PipeReply:
        """See `pipeline.live.client.Transport`."""
        future: Future[Any] = Future()
        with self._lock:
            self._next += 1
            self._futures[self._next] = future
            self._pipes[replica].send((self._next, method, arguments))
        return PipeReply(future)

    def close(self) -> None:
        """End the replicas."""
        for pipe in self._pipes.values():
            pipe.send(None)
        for process in self._processes:
            process.join()

    def _receive(self, pipe: Connection) -> None:
        while True:
            try:
                number, reply = pipe.recv()
            except EOFError:
                return
            future = self._futures.pop(number)
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)


class SlowLoad:
    """Keeps more requests waiting in the slow pool than it can answer, while it is on."""

    def __init__(self, transport: PipeTransport, request: Any, waiting: int = 2) -> None:
        self._transport, self._request, self._waiting = transport, request, waiting
        self._replies: list[PipeReply] = []
        self.answered = 0

    def fill(self) -> None:
        """Replace what was answered."""
        self._count()
        while len(self._replies) < self._waiting:
            self._replies.append(self._transport.send("robust-0", "classify", self._request))

    def drain(self) -> None:
        """Wait until the slow pool has nothing to do."""
        for reply in self._replies:
            reply.result(600)
        self._count()

    def _count(self) -> None:
        waiting = [reply for reply in self._replies if not reply.is_ready()]
        self.answered += len(self._replies) - len(waiting)
        self._replies = waiting


def face(index: int) -> Any:
    """A frame with one face, cropped."""
    import numpy as np

    from models.faces import Faces
    from models.quality import QualityMeasures
    from pipeline.frames import CroppedFaces, FrameHeader, TrackedFaces

    header = FrameHeader("made", "e1", index, index / 30, 0, 0, "arrival", 640, 480)
    one = np.ones(1, np.float32)
    faces = Faces(np.array([[0, 0, 112, 112]], np.float32), one, np.zeros((1, 5, 2), np.float32))
    crops = np.zeros((1, 112, 112, 3), np.uint8)
    tracked = TrackedFaces(header, faces, np.ones(1, np.int64))
    return CroppedFaces(tracked, crops, QualityMeasures(one, one, one, one), np.ones(1, np.int64))


def measure(faces: int, fast_s: float, slow_s: float, nice: int) -> dict[str, Any]:
    """The figures of `faces` faces alone, and as many beside the saturated slow pool."""
    import numpy as np

    from pipeline.emotion_settings import RobustRouteSettings, RouteSettings
    from pipeline.frames import ClassifyRequest
    from pipeline.live.client import ClassifierClient
    from pipeline.metrics import CameraMetrics

    load = [os.getloadavg()[0]]
    transport = PipeTransport({"fast-0": (fast_s, 0), "robust-0": (slow_s, nice)})
    client = ClassifierClient(
        *(transport, {"fast": ["fast-0"], "robust": ["robust-0"]}),
        {"fast": RouteSettings(), "robust": RobustRouteSettings(weights="made")},
        "made",
        False,
        CameraMetrics(),
        60.0,
    )
    one = face(0)
    slow = SlowLoad(transport, ClassifyRequest(one.crops, one.tracked.track_ids))
    for index in range(WARM_UP):
        client(face(index))
    seconds: dict[str, list[float]] = {"alone": [], "beside": []}
    for block in range(2 * BLOCKS):
        way = ("alone", "beside")[block % 2]
        for index in range(-(-faces // BLOCKS)):
            if way == "beside":
                slow.fill()
            cropped = face(index)
            started_s = time.perf_counter()
            is_answered = client(cropped).answered.all()
            seconds[way].append(time.perf_counter() - started_s)
            assert is_answered
        slow.drain()
    transport.close()
    load.append(os.getloadavg()[0])
    p50, p99 = ({w: 1e3 * np.percentile(s, q) for w, s in seconds.items()} for q in (50, 99))
    return {
        "faces": len(seconds["beside"]),
        "p50_ms": {way: round(ms, 3) for way, ms in p50.items()},
        "p99_ms": {way: round(ms, 3) for way, ms in p99.items()},
        "ratio": round(p99["beside"] / p99["alone"], 3),
        "slow_faces": slow.answered,
        "load": [round(each / (os.cpu_count() or 1), 2) for each in load],
        "fast_ms": 1e3 * fast_s,
        "slow_ms": 1e3 * slow_s,
        "nice": nice,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--faces", type=int, default=5000, help="faces of fast, each way")
    parser.add_argument("--fast-ms", type=float, default=1.0, help="CPU time of a face on fast")
    parser.add_argument("--slow-ms", type=float, default=500.0, help="CPU time of a face on slow")
    parser.add_argument("--nice", type=int, default=NICE, help="priority of slow's process, 0..19")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    figures = measure(given.faces, given.fast_ms / 1e3, given.slow_ms / 1e3, given.nice)
    result = save_result("routes", figures)
    if given.json:
        print(json.dumps(result))
        return
    for name in ("p50_ms", "p99_ms"):
        print(f"{name}: alone {figures[name]['alone']}, beside slow {figures[name]['beside']}")
    print(
        f"p99 ratio {figures['ratio']} over {figures['faces']} faces each way, "
        f"{figures['slow_faces']} slow faces, load a core {figures['load']}"
    )


if __name__ == "__main__":
    main()

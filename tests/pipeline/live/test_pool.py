"""The pool: whoever asks gets the rows of their own crops, whatever else shared the pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.errors import ModelError
from models.scores import EmotionScores
from pipeline.emotion_settings import RouteSettings
from pipeline.errors import PoolFull
from pipeline.frames import ClassifyReply, ClassifyRequest, TrackState
from pipeline.live.pool import ClassifierPool


class Reader:
    """Reads a crop's number off its pixels into the first column, its id into the uncertainty."""

    def __init__(self) -> None:
        self.passes: list[int] = []
        self.began, self.go = Event(), Event()
        self.go.set()

    def classify(self, request: ClassifyRequest) -> ClassifyReply:
        crops, ids, weights = request.crops, request.ids, request.weights
        assert len(weights) == len(crops) == len(ids)
        self.began.set()
        self.go.wait(10)
        self.passes.append(len(crops))
        if (crops == 255).any():
            raise ZeroDivisionError("a crop of 255")
        scores = np.zeros((len(crops), 8), np.float32)
        scores[:, 0] = crops[:, 0, 0, 0]
        scores[:, 1] = [len(name) for name in weights]
        states = tuple(state and TrackState("next", state.data) for state in request.states)
        return ClassifyReply(EmotionScores(scores, ids.astype(np.float32)), states)


def crops(first: int, n: int) -> NDArray[np.uint8]:
    numbers = np.arange(first, first + n, dtype=np.uint8)
    return np.broadcast_to(numbers[:, None, None, None], (n, 112, 112, 3)).copy()


def ask(
    pool: ClassifierPool,
    crops: NDArray[np.uint8],
    ids: NDArray[np.int64],
    weights: Sequence[str] = (),
) -> Coroutine[Any, Any, ClassifyReply]:
    return pool.classify(ClassifyRequest(crops, ids, tuple(weights)))


def played(
    settings: RouteSettings, script: Callable[[ClassifierPool, Reader], Coroutine[Any, Any, Any]]
) -> tuple[Any, Reader]:
    reader = Reader()

    async def play() -> Any:
        pool = ClassifierPool(reader, settings)
        try:
            return await script(pool, reader)
        finally:
            reader.go.set()
            pool.close()

    # On a thread of its own: Playwright's tests leave a loop running on this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, play()).result(), reader


@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 9))
def test_everyone_gets_their_own_rows(sizes: list[int], max_batch: int) -> None:
    async def script(pool: ClassifierPool, _: Reader) -> None:
        starts = np.cumsum([0, *sizes])[:-1].tolist()
        asked = [
            ask(pool, crops(start, n), np.arange(start, start + n))
            for start, n in zip(starts, sizes, strict=True)
        ]
        for start, n, reply in zip(starts, sizes, await asyncio.gather(*asked), strict=True):
            scores = reply.scores
            expected = np.arange(start, start + n)
            assert scores.probabilities[:, 0].tolist() == expected.tolist()
            assert scores.uncertainty.tolist() == expected.tolist()

    _, reader = played(RouteSettings(max_batch=max_batch, max_wait_ms=0), script)
    assert sum(reader.passes) == sum(sizes)
    assert all(n <= max(max_batch, *sizes) for n in reader.passes)


def test_weights_that_are_named_for_some_are_not_used_for_others() -> None:
    async def script(pool: ClassifierPool, _: Reader) -> list[ClassifyReply]:
        return await asyncio.gather(
            ask(pool, crops(0, 2), np.arange(2)),
            ask(pool, crops(2, 3), np.arange(3), ["", "bad", "bad"]),
        )

    (first, second), reader = played(RouteSettings(max_wait_ms=50), script)
    assert reader.passes == [5]
    assert first.scores.probabilities[:, 1].tolist() == [0, 0]
    assert second.scores.probabilities[:, 1].tolist() == [0, 3, 3]


def test_what_comes_during_a_pass_shares_the_next() -> None:
    async def script(pool: ClassifierPool, reader: Reader) -> None:
        reader.go.clear()
        first = asyncio.create_task(ask(pool, crops(0, 1), np.arange(1)))
        assert await asyncio.to_thread(reader.began.wait, 10)
        others = [asyncio.create_task(ask(pool, crops(n, 2), np.arange(2))) for n in (1, 3, 5)]
        await asyncio.sleep(0)
        reader.go.set()
        await asyncio.gather(first, *others)

    _, reader = played(RouteSettings(max_wait_ms=0), script)
    assert reader.passes == [1, 6]


def test_a_failed_pass_is_told_to_whoever_shared_it_and_the_next_goes_on() -> None:
    async def script(pool: ClassifierPool, _: Reader) -> list[Any]:
        return [
            *await asyncio.gather(ask(pool, crops(254, 2), np.arange(2)), return_exceptions=True),
            await ask(pool, crops(7, 1), np.arange(1)),
        ]

    (failed, fine), _ = played(RouteSettings(max_wait_ms=0), script)
    assert isinstance(failed, ZeroDivisionError)
    assert fine.scores.probabilities[0, 0] == 7


def test_more_than_may_wait_is_refused_at_once() -> None:
    async def script(pool: ClassifierPool, reader: Reader) -> None:
        reader.go.clear()
        fits = asyncio.create_task(ask(pool, crops(0, 4), np.arange(4)))
        await asyncio.sleep(0)
        with pytest.raises(PoolFull, match="more than 4 crops wait: classifier pool: increase"):
            await ask(pool, crops(0, 1), np.arange(1))
        reader.go.set()
        await fits
        assert len((await ask(pool, crops(0, 4), np.arange(4))).scores) == 4

    played(RouteSettings(max_pending=4), script)


def test_a_wrong_crop_spoils_nobodys_batch() -> None:
    async def script(pool: ClassifierPool, _: Reader) -> None:
        good = asyncio.create_task(ask(pool, crops(3, 1), np.arange(1)))
        await asyncio.sleep(0)
        with pytest.raises(ModelError, match=r"crops of shape \(1, 50, 50, 3\)"):
            await ask(pool, np.zeros((1, 50, 50, 3), np.uint8), np.arange(1))
        assert (await good).scores.probabilities[0, 0] == 3

    played(RouteSettings(), script)


def test_each_track_gets_its_own_state_back_from_a_shared_batch() -> None:
    def state(number: int) -> TrackState:
        return TrackState("w", bytes([number]))

    async def script(pool: ClassifierPool, _: Reader) -> list[ClassifyReply]:
        return await asyncio.gather(
            pool.classify(ClassifyRequest(crops(0, 2), np.arange(2), (), (state(7), None))),
            pool.classify(ClassifyRequest(crops(2, 1), np.arange(1))),
            pool.classify(ClassifyRequest(crops(3, 1), np.arange(1), (), (state(9),))),
        )

    replies, reader = played(RouteSettings(max_wait_ms=50), script)
    assert reader.passes == [4]
    assert [[one and one.data for one in reply.states] for reply in replies] == [
        [b"\x07", None],
        [None],
        [b"\x09"],
    ]


def test_a_saturated_slow_pool_never_keeps_a_fast_one_waiting() -> None:
    """The slow classifier is held by an event while fast is asked, and its pool is full."""
    slow = Reader()
    slow.go.clear()

    async def script(fast: ClassifierPool, _: Reader) -> None:
        pool = ClassifierPool(slow, RouteSettings(max_pending=4, max_batch=1))
        waiting = [asyncio.create_task(ask(pool, crops(n, 1), np.arange(1))) for n in range(4)]
        assert await asyncio.to_thread(slow.began.wait, 10)
        with pytest.raises(PoolFull):
            await ask(pool, crops(9, 1), np.arange(1))
        for n in range(200):
            reply = await ask(fast, crops(n, 1), np.arange(1))
            assert reply.scores.probabilities[0, 0] == n
        assert not any(task.done() for task in waiting)
        assert slow.passes == []
        slow.go.set()
        await asyncio.gather(*waiting)
        pool.close()

    played(RouteSettings(max_wait_ms=0), script)


def test_what_nobody_waits_for_any_more_is_not_computed() -> None:
    """Neither does it count as waiting: others get its place at once."""

    async def script(pool: ClassifierPool, reader: Reader) -> None:
        reader.go.clear()
        first = asyncio.create_task(ask(pool, crops(0, 1), np.arange(1)))
        assert await asyncio.to_thread(reader.began.wait, 10)
        late = asyncio.create_task(ask(pool, crops(1, 3), np.arange(3)))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.sleep(0.01)
        assert pool._pending == 1
        last = asyncio.create_task(ask(pool, crops(4, 3), np.arange(3)))
        await asyncio.sleep(0)
        reader.go.set()
        await asyncio.gather(first, last)
        assert pool._pending == 0

    _, reader = played(RouteSettings(max_wait_ms=0, max_pending=4), script)
    assert reader.passes == [1, 3]


def test_a_request_that_is_given_up_while_it_waits_for_others_ends_nothing() -> None:
    async def script(pool: ClassifierPool, _: Reader) -> None:
        late = asyncio.create_task(ask(pool, crops(0, 1), np.arange(1)))
        await asyncio.sleep(0.01)
        late.cancel()
        await asyncio.sleep(0.2)
        await ask(pool, crops(1, 2), np.arange(2))
        assert pool._pending == 0

    _, reader = played(RouteSettings(max_wait_ms=100), script)
    assert reader.passes == [2]

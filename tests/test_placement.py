"""Places in the arena: no two arrays that live at once share bytes, and many arrays are placed as a few are."""

import bisect

import pytest
from _nets import addition_net, mlp, ragged_net
from _threads import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn as fnn
from fastnn import placement
from fastnn.lowering import Lowering
from fastnn.ops._base import Call, Tensor


def calls_of(lives):
    """A list of calls in which array k of some bytes is named by the first and the last of its life."""
    named = {}
    for key, (size, first, last) in enumerate(lives):
        for number in (first, last):
            named.setdefault(number, []).append(Tensor("arena", key, (size,), "u8"))
    return [Call("nothing", tuple(named.get(number, ()))) for number in range(max(named) + 1)]


def ways(monkeypatch, sections, itemsize=8):
    """The result for few arrays, and that for many."""
    results = []
    for limit in (10**9, 0):
        with monkeypatch.context() as patch:
            patch.setattr(placement, "FEW", limit)
            results.append(placement.place(sections, itemsize))
    return results


def assert_sound(lives, offsets, total):
    """Compare every array with every other."""
    spans = [(offsets[k], offsets[k] + 8 * size, first, last) for k, (size, first, last) in enumerate(lives)]
    for k, (start, end, first, last) in enumerate(spans):
        assert start % 64 == 0
        assert 0 <= start <= end <= total
        for other_start, other_end, other_first, other_last in spans[:k]:
            if first <= other_last and other_first <= last and start < end and other_start < other_end:
                assert end <= other_start or other_end <= start


#: Bytes / 8, first call and number of further calls of an array.
LIVES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20), st.integers(0, 12)), min_size=1, max_size=40)


@given(lives=LIVES)
@settings(max_examples=150)
def test_arrays_that_live_at_once_lie_apart(lives):
    lives = [(size, first, first + more) for size, first, more in lives]
    with pytest.MonkeyPatch.context() as patch:
        few, many = ways(patch, {"step": calls_of(lives)})
    assert_sound(lives, *few)
    assert_sound(lives, *many)
    assert few == many


#: Shards of successive calls: whole ones, and two stages of some parts side by side.
SHARDS = [None, *[(1, k % 3) for k in range(9)], None, *[(2, k % 2) for k in range(6)]]
#: Bytes / 8 of an array, and the calls that name it.
NAMED = st.lists(
    st.tuples(st.integers(1, 40), st.sets(st.integers(0, len(SHARDS) - 1), min_size=1, max_size=4)),
    min_size=1, max_size=30,
)  # fmt: skip


def at_once(first, second):
    """Whether two arrays may hold something at the same time: lives meet, and it is no matter of one part's order."""

    def stages(calls):
        """The time before, in, between and after the stages, from first to last."""
        number = [0, *[1] * 9, 2, *[3] * 6]
        return min(number[k] for k in calls), max(number[k] for k in calls)

    shards = {SHARDS[k] for k in (*first, *second)}
    if len(shards) == 1 and None not in shards:
        (a, b), (c, d) = [(min(calls), max(calls)) for calls in (first, second)]
    else:
        (a, b), (c, d) = stages(first), stages(second)
    return a <= d and c <= b


@given(arrays=NAMED)
@settings(max_examples=150)
def test_arrays_of_parts_that_run_side_by_side_lie_apart(arrays):
    tensors = [[] for _ in SHARDS]
    for key, (size, calls) in enumerate(arrays):
        for k in calls:
            tensors[k].append(Tensor("arena", key, (size,), "u8"))
    step = [Call("nothing", tuple(some), shard=shard) for some, shard in zip(tensors, SHARDS, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        few, many = ways(patch, {"step": step})
    assert few == many
    offsets, total = few
    for k, (size, calls) in enumerate(arrays):
        assert offsets[k] % 64 == 0
        assert offsets[k] + 8 * size <= total
        for j, (other_size, other_calls) in enumerate(arrays[:k]):
            if at_once(calls, other_calls):
                assert offsets[j] + 8 * other_size <= offsets[k] or offsets[k] + 8 * size <= offsets[j]


def test_a_part_uses_its_memory_again():
    """Its calls run one after the other; those of another part have memory of their own."""
    size = 100
    calls = [Call("nothing", (Tensor("arena", (part, k), (size,), "u8"),), shard=(1, part))
             for k in range(5) for part in range(2)]  # fmt: skip
    offsets, total = placement.place({"step": calls}, 8)
    assert len({offsets[0, k] for k in range(5)}) == len({offsets[1, k] for k in range(5)}) == 1
    assert total == 2 * 832


def test_the_check_can_fail():
    with pytest.raises(AssertionError):
        assert_sound([(8, 0, 1), (8, 1, 2)], {0: 0, 1: 0}, 64)


NETS = {**MODELS, "addition in one": addition_net, "mlp": mlp, "ragged in one": ragged_net}


@pytest.mark.parametrize("name", NETS)
def test_many_arrays_are_placed_as_few_are(monkeypatch, name):
    """The arena of every net at hand is the same to the byte."""
    net = NETS[name]()
    shape = (64, 5) if name == "words" else (64, 3) if name == "mlp" else (64, 5, 3)
    for threads in (1, 2):
        lowering = Lowering(net.graph(shape), [shape], net.dtype, training=True, threads=threads)
        few, many = ways(monkeypatch, lowering.sections, lowering.itemsize)
        assert few == many
        assert len(few[0]) > 3


def looks(monkeypatch, depth):
    """How often places are looked up for a chain of layers."""
    net = fnn.Sequential(*(layer for _ in range(depth) for layer in (fnn.Linear(4, 4), fnn.Tanh())), seed=0)
    lowering = Lowering(net.graph((64, 4)), [(64, 4)], net.dtype, training=True, wants_dx=True)
    count, search = 0, bisect.bisect_right

    def counted(*arguments):
        nonlocal count
        count += 1
        return search(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(bisect, "bisect_right", counted)
        offsets, _ = placement.place(lowering.sections, lowering.itemsize)
    assert len(offsets) > placement.FEW
    return count


def test_a_deep_net_takes_time_in_proportion(monkeypatch):
    """Not with the square of the depth: its activations all live until the backward pass."""
    assert 0 < looks(monkeypatch, 800) < 6 * looks(monkeypatch, 200)

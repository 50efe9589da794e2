"""The hooks, history, schedules, and what ends or slows a training that no longer improves."""

import json
from functools import partial

import numpy as np
import pytest
from _nets import assert_same_state, mlp, state

import fastnn as fnn
from fastnn import training


@pytest.fixture
def data(rng):
    return rng.standard_normal((8, 3)), rng.standard_normal((8, 2))


def compiled(**options):
    net = mlp(**options)
    net.compile(fnn.Adam(lr=0.01), "mse")
    return net


class Record(fnn.Callback):
    def __init__(self):
        self.calls = []

    def on_train_begin(self):
        self.calls.append("begin")

    def on_epoch_begin(self, epoch):
        self.calls.append(("epoch", epoch))

    def on_epoch_end(self, epoch, logs):
        self.calls.append((epoch, sorted(logs)))

    def on_train_end(self):
        self.calls.append("end")


def test_callbacks_are_called_in_order(backend, data):
    x, y = data
    record, net = Record(), compiled()
    history = net.fit(x, y, epochs=2, verbose=0, callbacks=[record], validation_data=(x, y))
    names = ["loss", "val_loss"]
    assert record.calls == ["begin", ("epoch", 0), (0, names), ("epoch", 1), (1, names), "end"]
    assert record.model is net
    assert net.history is history
    assert history.epoch == [0, 1]
    assert history.seconds > 0
    assert repr(history).startswith("History(2 epochs; loss=")
    assert history.last()["loss"] == history.history["loss"][-1]


def test_logs_are_a_copy(backend, data):
    x, y = data

    class Vandal(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            logs.clear()

    record = Record()
    compiled().fit(x, y, epochs=1, verbose=0, callbacks=[Vandal(), record])
    assert record.calls[2] == (0, ["loss"])


def test_stop_training(backend, data):
    x, y = data

    class Enough(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.stop_training = epoch == 2

    net = compiled()
    net.fit(x, y, epochs=100, verbose=0, callbacks=[Enough()])
    assert net.epochs_done == len(net.history.epoch) == 3
    net.fit(x, y, epochs=2, verbose=0)  # the wish held for that training alone
    assert net.epochs_done == 5


def test_a_callback_that_watches_no_epoch_does_not_cut_the_training_up(backend, data, monkeypatch):
    x, y = data
    slices = []
    original = training.Runner.slice
    monkeypatch.setattr(training.Runner, "slice", lambda *a: slices.append(1) or original(*a))
    monkeypatch.setattr(training, "SLICE_SECONDS", 1e9)

    class Quiet(fnn.Callback):
        def on_train_end(self):
            pass

    compiled().fit(x, y, epochs=50, verbose=0, callbacks=[Quiet()])
    assert len(slices) == 1
    compiled().fit(x, y, epochs=50, verbose=0, callbacks=[Record()])
    assert len(slices) == 51


def test_a_schedule_sets_the_rate_before_each_epoch(backend, data):
    x, y = data
    seen = []

    def schedule(epoch, lr):
        seen.append((epoch, lr))
        return lr / 2

    net, by_hand = compiled(), compiled()
    net.fit(x, y, epochs=3, batch_size=4, verbose=0, callbacks=[fnn.LearningRateScheduler(schedule)])
    assert seen == [(0, 0.01), (1, 0.005), (2, 0.0025)]
    for _ in range(3):
        by_hand.optimizer.lr /= 2
        by_hand.fit(x, y, epochs=1, batch_size=4, verbose=0)
    np.testing.assert_array_equal(net.vectors.params, by_hand.vectors.params)
    with pytest.raises(
        TypeError, match=r"LearningRateScheduler: schedule: expected a callable \(epoch, lr\), got 0\.1"
    ):
        fnn.LearningRateScheduler(0.1)
    with pytest.raises(ValueError, match=r"Adam: lr: expected a number .* got 'fast'"):
        net.fit(x, y, verbose=0, callbacks=[fnn.LearningRateScheduler(lambda epoch, lr: "fast")])


def test_a_callback_that_fails_at_the_start_is_still_ended(backend):
    calls = []

    class Fails(fnn.Callback):
        def on_train_begin(self):
            calls.append("begin")
            raise RuntimeError("no room")

        def on_train_end(self):
            calls.append("end")

    class Later(fnn.Callback):
        def on_train_end(self):
            calls.append("later")

    net = fnn.Sequential(fnn.Linear(1, 1), seed=0)
    net.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="no room"):
        net.fit([[1.0]], [[1.0]], verbose=0, callbacks=[Fails(), Later()])
    assert calls == ["begin", "end"]


class Ends(fnn.Callback):
    """Says that it was ended, and perhaps raises."""

    def __init__(self, calls, error=None):
        self.calls, self.error = calls, error

    def on_train_end(self):
        self.calls.append(self)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_all_callbacks_are_ended_before_an_error_of_one_is_raised(backend, data, tmp_path, kind):
    calls, first = [], kind("disk full")
    log = fnn.CSVLogger(tmp_path / "log.csv")
    callbacks = [Ends(calls), Ends(calls, first), log, Ends(calls, ValueError("another")), Ends(calls, EOFError())]
    callbacks[-1].on_train_end = partial(Ends.on_train_end, callbacks[-1])  # which has no name
    net = compiled()
    with pytest.raises(kind, match="disk full") as raised:
        net.fit(*data, epochs=2, verbose=0, callbacks=callbacks)
    assert raised.value is first
    named, unnamed = raised.value.__notes__
    assert named == "fastnn: afterwards Ends.on_train_end raised ValueError('another')."
    assert unnamed.startswith("fastnn: afterwards functools.partial(")
    assert unnamed.endswith(" raised EOFError().")
    assert calls == [callback for callback in callbacks if callback is not log]
    assert log._file is None
    assert net.history.finished
    net.fit(*data, epochs=1, verbose=0)  # it is at rest


def test_the_error_of_a_training_is_told_beside_that_of_a_callback(backend, data):
    calls = []

    class Broken(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            raise RuntimeError("broken callback")

    with pytest.raises(OSError, match="disk full") as raised:
        compiled().fit(*data, verbose=0, callbacks=[Broken(), Ends(calls, OSError("disk full")), Ends(calls)])
    assert isinstance(raised.value.__context__, RuntimeError)
    assert len(calls) == 2


def test_callbacks_are_ended_where_the_bar_cannot_be(data, monkeypatch):
    """Its terminal may be gone."""
    calls = []

    def close(self):
        raise BrokenPipeError("no terminal")

    monkeypatch.setattr(training.Progress, "close", close)
    with pytest.raises(BrokenPipeError, match="no terminal"):
        compiled().fit(*data, verbose=0, callbacks=[Ends(calls)])
    assert len(calls) == 1


# -- batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_hook_after_each_batch(backend, data, accumulate):
    """It sees the epoch's figures so far, and does not change the numbers."""
    x, y = data

    class Watch(fnn.Callback):
        def __init__(self):
            self.seen = []

        def on_batch_end(self, batch, logs):
            self.seen.append((batch, logs["loss"], self.model.optimizer.updates))

        def on_epoch_end(self, epoch, logs):
            self.seen.append(("end", logs["loss"]))

    watch, options = Watch(), {"epochs": 2, "batch_size": 3, "verbose": 0, "accumulate": accumulate}
    net, plain = compiled(), compiled()
    net.fit(x, y, callbacks=[watch], validation_data=(x, y), **options)
    plain.fit(x, y, validation_data=(x, y), **options)
    assert_same_state(state(net), state(plain), leave_out=["compiled"])
    assert [entry[0] for entry in watch.seen] == [0, 1, 2, "end"] * 2
    assert watch.seen[2][1] == watch.seen[3][1] == net.history.history["loss"][0]
    assert watch.seen[0][1] != watch.seen[1][1]
    assert [entry[2] for entry in watch.seen[:3]] == ([1, 2, 3] if accumulate == 1 else [0, 1, 2])


def test_a_training_may_end_after_a_batch(backend, data):
    x, y = data

    class Enough(fnn.Callback):
        def on_batch_end(self, batch, logs):
            self.model.stop_training = batch == 1

    net = compiled()
    history = net.fit(x, y, epochs=3, batch_size=2, verbose=0, callbacks=[Enough()])
    assert net.optimizer.updates == 2
    assert history.epoch == []  # no epoch is over
    assert history.finished


# -- what remembers ------------------------------------------------------------------------------------


def run(callback, values, monitor="val_loss", first=0):
    """Feed figures to a callback as a training would, one an epoch; return what the model was like at each end."""
    net = compiled()
    callback.model = net
    net.history = fnn.History()
    net.stop_training = False
    trace = []
    for epoch, value in enumerate(values, start=first):
        net.vectors.params[...] = net.vectors.buffers[...] = epoch
        callback.on_epoch_end(epoch, {monitor: value})
        trace.append((net.optimizer.lr, net.stop_training))
        if net.stop_training:
            break
    net.history.finished = True
    callback.on_train_end()
    return net, trace


@pytest.mark.parametrize(
    ("options", "values", "epochs", "kept"),
    [
        ({"patience": 2}, [5, 4, 3, 4, 4, 1], 5, 2),
        ({"patience": 1}, [5, 4, 4, 1], 3, 1),  # as good is not better
        ({"patience": 2}, [5, 4, 5, 3, 4, 2, 9], 7, 5),  # patience begins anew; restored after the last epoch too
        ({"patience": 2, "min_delta": 0.5}, [5, 4.6, 4.5, 4.4, 1], 3, 0),  # 5 - 4.5 is not more than 0.5
        ({"patience": 2, "mode": "max"}, [1, 2, 1, 1, 9], 4, 1),
        ({"patience": 2, "monitor": "val_accuracy"}, [0.1, 0.5, 0.4, 0.3, 0.9], 4, 1),
        ({"patience": 3}, [5, float("nan"), float("-inf"), float("nan"), 1], 4, 0),
        ({"patience": 2}, [float("nan")] * 5, 2, None),
        ({"patience": 2, "restore_best": False}, [5, 4, 5, 5, 5], 4, None),
        ({"patience": 9}, [3, 2, 1], 3, None),  # the last is the best
    ],
)
def test_a_training_that_no_longer_improves_ends_as_at_its_best(options, values, epochs, kept):
    net, trace = run(fnn.EarlyStopping(**options), values, options.get("monitor", "val_loss"))
    assert len(trace) == epochs
    assert [stop for _, stop in trace] == [False] * (epochs - 1) + [epochs < len(values)]
    expected = epochs - 1 if kept is None else kept
    assert all((p.data == expected).all() for p in net.own_parameters)  # buffers too


def test_early_stopping_in_a_real_training(backend, data, capsys):
    x, y = data
    stop = fnn.EarlyStopping(patience=3, verbose=True)
    net = compiled()
    options = {"batch_size": 4, "verbose": 0, "validation_data": (x[::-1], y)}
    history = net.fit(x, y, epochs=500, callbacks=[stop], **options)
    losses = history.history["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 4 < 500
    assert net.evaluate(x[::-1], y)["loss"] == pytest.approx(losses[best], rel=1e-12)  # parameters and buffers
    again = compiled()
    again.fit(x, y, epochs=best + 1, **options)
    np.testing.assert_array_equal(net.vectors.params, again.vectors.params)
    np.testing.assert_array_equal(net.vectors.buffers, again.vectors.buffers)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"EarlyStopping: no better val_loss for 3 epochs: training ends after epoch {best + 4}"
    assert second.startswith(f"EarlyStopping: the parameters of epoch {best + 1} are restored (val_loss=")
    # A new training begins anew; otherwise the old best would end it after 3 epochs.
    fresh, used = compiled(seed=2), compiled(seed=2)
    stop.best = -1.0  # as if the first had been better
    fresh.fit(x, y, epochs=60, callbacks=[fnn.EarlyStopping(patience=3)], **options)
    used.fit(x, y, epochs=60, callbacks=[stop], **options)
    assert_same_state(state(used), state(fresh), leave_out=["compiled"])


def test_a_training_whose_last_epoch_is_the_best_is_left_as_it_is(capsys):
    run(fnn.EarlyStopping(verbose=True), [3, 2, 1])
    assert capsys.readouterr().out == ""


def test_nothing_is_restored_after_a_training_that_was_broken_off(backend, data):
    x, y = data

    class Impatient(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 4:
                raise KeyboardInterrupt

    stop = fnn.EarlyStopping("loss", mode="max", patience=9)  # the first epoch is the best
    net, plain = compiled(), compiled()
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, epochs=9, verbose=0, callbacks=[stop, Impatient()])
    assert stop.best_epoch < 4
    plain.fit(x, y, epochs=5, verbose=0)
    np.testing.assert_array_equal(net.vectors.params, plain.vectors.params)


@pytest.mark.parametrize(
    ("options", "values", "rates"),
    [
        ({"patience": 2}, [5, 4, 4, 4, 3, 3, 3, 3, 3], [0, 0, 0, 1, 1, 1, 2, 2, 3]),
        ({"patience": 1}, [5, 5, 5, 4], [0, 1, 2, 2]),
        ({"patience": 1, "cooldown": 2}, [5, 5, 5, 5, 5, 5], [0, 1, 1, 1, 2, 2]),
        ({"patience": 2, "min_delta": 1.0}, [5, 4.5, 4.0, 2], [0, 0, 1, 1]),
        ({"patience": 2, "mode": "max"}, [1, 2, 1, 1], [0, 0, 0, 1]),
        ({"patience": 1}, [float("nan"), float("inf"), 5, 4], [1, 2, 2, 2]),
    ],
)
def test_the_rate_falls_on_a_plateau(options, values, rates):
    _, trace = run(fnn.ReduceLROnPlateau(factor=0.5, **options), values)
    np.testing.assert_allclose([rate for rate, _ in trace], [0.01 * 0.5**k for k in rates], rtol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("cooldown", [0, 1, 3])
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_the_plateau_is_torchs(rng, patience, cooldown):
    """Torch lowers the rate after more than ``patience`` bad epochs, this and Keras's after ``patience``."""
    torch = pytest.importorskip("torch")
    values = rng.integers(0, 40, 80) / 4 + np.linspace(8, 0, 80)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.3, patience=patience - 1, threshold=0.3, threshold_mode="abs", cooldown=cooldown,
        min_lr=1e-5, eps=0,
    )  # fmt: skip
    expected = []
    for value in values:
        theirs.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    ours = fnn.ReduceLROnPlateau(factor=0.3, patience=patience, min_delta=0.3, cooldown=cooldown, min_lr=1e-5)
    _, trace = run(ours, values)
    np.testing.assert_allclose([rate for rate, _ in trace], expected, rtol=1e-12)
    assert expected[-1] < 0.01


def test_the_plateau_in_a_real_training(backend, data, capsys):
    x, y = data
    net = compiled()
    plateau = fnn.ReduceLROnPlateau("loss", factor=0.5, patience=1, mode="max", min_lr=0.002, verbose=True)
    net.fit(x, y, epochs=40, verbose=0, callbacks=[plateau])  # a loss that falls is no better where more is better
    assert net.optimizer.lr == 0.002
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("the learning rate is 0.002")
    assert all(line.startswith("ReduceLROnPlateau: after epoch ") for line in lines)


@pytest.mark.parametrize("make", [
    lambda: fnn.EarlyStopping(patience=3),
    lambda: fnn.ReduceLROnPlateau(factor=0.5, patience=3, cooldown=1),
])  # fmt: skip
@pytest.mark.parametrize("at", range(1, 9))
def test_what_is_remembered_goes_through_json(make, at, rng):
    """Broken off after any epoch, and taken up by a new callback: the same as if nothing had been."""
    values = rng.integers(0, 9, 9).astype(float)
    whole, first, second = make(), make(), make()
    net, expected = run(whole, values)
    _, before = run(first, values[:at])
    if before[-1][1]:
        return  # it had ended already
    held = first.arrays()
    second.set_state(json.loads(json.dumps(first.state())), held)
    assert all(np.array_equal(second.arrays()[name], array) for name, array in held.items())
    assert second.state() == first.state()
    resumed, after = run(second, values[at:], first=at)
    if isinstance(whole, fnn.EarlyStopping):
        assert before + after == expected
        for parameter, other in zip(resumed.own_parameters, net.own_parameters, strict=True):
            np.testing.assert_array_equal(parameter.data, other.data)
    else:  # the rate is the optimizer's to keep
        factor = before[-1][0] / 0.01
        np.testing.assert_allclose([rate * factor for rate, _ in after], [rate for rate, _ in expected[at:]])


def test_a_training_that_goes_on_keeps_what_the_callbacks_remember(backend, data):
    x, y = data
    whole, parts = compiled(), compiled()
    options = {"validation_data": (x[::-1], y), "verbose": 0, "batch_size": 4}
    whole.fit(x, y, epochs=100, callbacks=[fnn.EarlyStopping(patience=4)], **options)
    stop, epoch = fnn.EarlyStopping(patience=4, restore_best=False), 0
    while epoch < 100 and not parts.stop_training:
        stop.restore_best = False
        parts.fit(x, y, epochs=epoch + 1, initial_epoch=epoch, callbacks=[stop], **options)
        epoch += 1
    assert epoch == len(whole.history.epoch) < 100
    assert stop.best_epoch == int(np.argmin(whole.history.history["val_loss"]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.EarlyStopping(patience=0), "EarlyStopping: patience: expected an integer of at least 1, got 0"),
        (lambda: fnn.EarlyStopping(min_delta=-1), "EarlyStopping: min_delta: expected a number of at least 0, got -1"),
        (lambda: fnn.EarlyStopping(mode="best"), "EarlyStopping: mode: expected 'auto', 'min' or 'max', got 'best'"),
        (lambda: fnn.ReduceLROnPlateau(factor=1.0), r"factor: expected a number between 0 and 1, got 1\.0"),
        (lambda: fnn.ReduceLROnPlateau(factor="a"), "factor: expected a number of at least 0, got 'a'"),
        (lambda: fnn.ReduceLROnPlateau(cooldown=-1), "cooldown: expected an integer of at least 0, got -1"),
        (lambda: fnn.ReduceLROnPlateau(min_lr=np.nan), "min_lr: expected a number of at least 0, got nan"),
        (lambda: fnn.EarlyStopping(min_delta=10**309), "min_delta: expected a number of at least 0, got 10{309}"),
    ],
)
def test_arguments_of_callbacks(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", [fnn.EarlyStopping, fnn.ReduceLROnPlateau])
def test_a_figure_that_there_is_not(data, kind):
    x, y = data
    net = compiled()
    before = state(net)
    for callback, message in [
        (kind(), rf"{kind.__name__}: monitor: expected one of \['loss'\], got 'val_loss'; pass validation_data for it"),
        (kind("accuracy"), rf"{kind.__name__}: monitor: expected one of \['loss'\], got 'accuracy'\."),
    ]:
        with pytest.raises(ValueError, match=message):
            net.fit(x, y, verbose=0, callbacks=[callback])
    assert_same_state(state(net), before)

"""Spoken digits: reading, mel bands, noise of the ratio asked for, and the experiment at small size."""

from __future__ import annotations

import io
import math
import wave
from pathlib import Path

import pytest
import torch

from sonde.experiment import Figure, Lab
from sonde.recipes import audio_augmentation as module
from sonde.recipes.audio_augmentation import (
    RATE,
    SAMPLES,
    Ear,
    LogMel,
    Sounds,
    accuracies,
    arms,
    compared,
    drawn,
    few,
    noisy,
    read_fsdd,
    shown,
    sound,
)


def tones(rows: int = 20, seed: int = 0) -> Sounds:
    """Tones under a little noise, their pitch told by the class."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % 10
    t = torch.arange(SAMPLES) / RATE
    x = torch.sin(2 * math.pi * (300 + 300 * y[:, None]) * t) * torch.rand(rows, 1, generator=g)
    return Sounds(0.5 * x + 0.01 * torch.randn(rows, SAMPLES, generator=g), y)


def wav(samples: list[int], rate: int = RATE, channels: int = 1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(s.to_bytes(2, "little", signed=True) for s in samples))
    return out.getvalue()


def test_a_recording_is_put_in_the_middle() -> None:
    x = sound(wav([16384, -32768]))
    assert x.shape == (SAMPLES,) and x[SAMPLES // 2 - 1 : SAMPLES // 2 + 1].tolist() == [0.5, -1.0]
    assert x.count_nonzero() == 2
    long = sound(wav([*([1] * 100), *([2] * SAMPLES), *([3] * 100)]))
    assert long.shape == (SAMPLES,) and (long == 2 / 32768).all()
    with pytest.raises(ValueError, match="8 kHz"):
        sound(wav([1], rate=16000))


def test_bands_of_mel_are_where_they_should_be() -> None:
    mel = LogMel(bands=40)
    spectrum = mel(tones().x)
    assert spectrum.shape == (20, 40, 81) and spectrum.isfinite().all()
    top = 2595 * math.log10(1 + 4000 / 700)
    for row in range(10):
        band = 41 * 2595 * math.log10(1 + (300 + 300 * row) / 700) / top - 1
        assert abs(spectrum[row].mean(1).argmax().item() - band) < 1
    assert torch.allclose(LogMel()(torch.zeros(1, SAMPLES)), torch.tensor(1e-10).log())  # silence is a number


def test_a_louder_sound_is_the_same_sound() -> None:
    net, x = Ear().eval(), tones().x
    assert torch.allclose(net(x), net(0.1 * x), atol=1e-3)
    assert torch.allclose(net(x), net(net.mel(x)))


def test_noise_for_a_test_has_the_ratio_and_is_the_same_again() -> None:
    clean = tones()
    loud = noisy(clean, 10.0)
    ratio = 10 * (clean.x.pow(2).mean(1) / (loud.x - clean.x).pow(2).mean(1)).log10()
    assert torch.allclose(ratio, torch.full((20,), 10.0), atol=1e-2)
    assert torch.equal(loud.x, noisy(clean, 10.0).x)


def test_few_rows_are_as_many_of_each_digit() -> None:
    whole = tones(100)
    assert few(whole, 30, 0).y.bincount().tolist() == [3] * 10
    assert not torch.equal(few(whole, 30, 0).x, few(whole, 30, 1).x)


@pytest.mark.parametrize("name", list(arms()))
def test_every_arm_learns_tones(name: str) -> None:
    ready, methods = arms()[name]
    found = accuracies(tones(), {"clean": tones(20, 1)}, ready, methods, steps=25, seed=0)
    assert found["clean"] > 0.5  # chance: 0.1


def test_arms_are_compared_and_drawn(tmp_path: Path) -> None:
    said: list[str] = []
    found = compared(tones(), {"clean": tones(20, 1), "0 dB": noisy(tones(20, 1), 0)}, 10, 2, 2, said.append)
    assert list(found) == list(arms()) and len(said) == 8
    assert all(len(v) == 2 for by_test in found.values() for v in by_test.values())
    assert "<svg" in Figure.of("a", "", drawn(found)).svg and "<svg" in Figure.of("b", "", shown(tones())).svg


def test_a_gain_that_is_not_there_is_not_claimed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "read_fsdd", lambda: (tones(), tones()))
    for gain, holds in ((0.05, True), (-0.05, False)):
        base = {c: [0.5, 0.52, 0.51] for c in ("clean", "10 dB", "0 dB")}
        better = {c: [v + gain + 0.001 * k for k, v in enumerate(values)] for c, values in base.items()}
        found = {"nothing": base, **{name: better for name in arms() if name != "nothing"}}
        monkeypatch.setattr(module, "compared", lambda *given, found=found: found)
        checks = [f for f in module.audio_augmentation.run(Lab(tmp_path)) if hasattr(f, "holds")]
        assert len(checks) == 2 and all(c.holds == holds for c in checks)


@pytest.mark.mirror
def test_the_digits_are_read_whole() -> None:
    train, test = read_fsdd()
    assert train.y.bincount().tolist() == [270] * 10 and test.y.bincount().tolist() == [30] * 10
    assert train.x.abs().amax(1).min() > 0

"""Distillation and hints: the closed forms, teachers of every kind, and what the shipped model does not hold."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonde.bundle import Bundle
from sonde.core import At, Batch, Budget, Build, Loss, Method, Refused, Run, SondeError, fit
from sonde.data import load
from sonde.data.rows import Rows
from sonde.methods import EMA, Distil, Hint, LabelSmoothing, MixUp, sgd
from sonde.methods.compress.distil import softened
from sonde.nets import MLP
from sonde.objectives import Classify, Regress
from tests.support import blobs, mlp, trained, weights


def terms(*methods: object, net: nn.Module, batch: Batch, objective: type = Classify) -> dict[str, Tensor]:
    run = Run(objective(net), [*methods, sgd(0.1)])  # type: ignore[list-item]
    loss = run.loss("model", run.params("model"), batch)
    return {k: t.weight * t.value for k, t in loss.terms.items()}


def batch_of(dtype: torch.dtype = torch.float32) -> Batch:
    x, y = blobs(12)
    return Batch(x.to(dtype), y, torch.arange(12))


# ---------------------------------------------------------------- distillation
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_the_loss_is_hintons(temperature: float, alpha: float) -> None:
    student, teacher, batch = mlp(4, 8, 3), mlp(4, 16, 3), batch_of()
    found = terms(Distil(teacher, temperature, alpha), net=student, batch=batch)
    p, q = (teacher(batch.x) / temperature).softmax(1), (student(batch.x) / temperature).softmax(1)
    kl = (p * (p / q).log()).sum(1)
    torch.testing.assert_close(found["distil"], alpha * temperature**2 * kl, rtol=1e-4, atol=1e-6)
    reference = F.kl_div(q.log(), p, reduction="none").sum(1)
    torch.testing.assert_close(found["distil"], alpha * temperature**2 * reference, rtol=1e-4, atol=1e-6)
    hard = F.cross_entropy(student(batch.x), batch.y, reduction="none")
    torch.testing.assert_close(found["task"], (1 - alpha) * hard)


def test_the_gradient_at_high_temperature_is_that_of_the_paper() -> None:
    """Eq. 4: (z - v) / C for logits of mean zero, once multiplied by T^2."""
    g = torch.Generator().manual_seed(0)
    z, v = (torch.randn(5, 4, generator=g, dtype=torch.float64) for _ in range(2))
    z, v = z - z.mean(1, keepdim=True), v - v.mean(1, keepdim=True)
    z.requires_grad_()
    (found,) = torch.autograd.grad(softened(z, v, 1e4).sum(), z)
    torch.testing.assert_close(found, (z - v).detach() / 4, rtol=1e-3, atol=1e-4)


def test_a_student_that_answers_as_the_teacher_has_nothing_to_learn() -> None:
    net, batch = mlp(4, 8, 3), batch_of()
    assert terms(Distil(net), net=net, batch=batch)["distil"].abs().max() < 1e-5


def test_without_weight_nothing_changes() -> None:
    found = []
    for extra in ([], [Distil(mlp(4, 3), alpha=0.0)]):
        torch.manual_seed(0)
        found.append(weights(trained(*extra, net=mlp(4, 8, 3)).objective))
    assert torch.equal(*found)


def test_members_learn_the_mean_of_members() -> None:
    student = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)))
    teacher = nn.Sequential(nn.Linear(4, 15), nn.Unflatten(1, (5, 3)))
    batch = batch_of()
    found = terms(Distil(teacher, 2.0, 1.0), net=student, batch=batch)["distil"]
    p = (teacher(batch.x) / 2).softmax(-1).mean(1)
    q = (student(batch.x) / 2).log_softmax(-1)
    each = torch.stack([F.kl_div(q[:, m], p, reduction="none").sum(1) for m in range(2)], 1)
    torch.testing.assert_close(found, 4 * each.mean(1), rtol=1e-4, atol=1e-6)


def test_rows_keep_their_weights_and_other_terms_stay() -> None:
    batch = batch_of()
    weight = torch.rand(12)
    batch = Batch(batch.x, batch.y, batch.records, {"weight": weight})
    net, teacher = mlp(4, 8, 3), mlp(4, 3)
    found = terms(LabelSmoothing(0.1), Distil(teacher, alpha=0.25), net=net, batch=batch)
    plain = terms(LabelSmoothing(0.1), net=net, batch=batch)
    torch.testing.assert_close(found["task"], 0.75 * plain["task"])
    torch.testing.assert_close(found["distil"], 0.25 * weight * softened(net(batch.x), teacher(batch.x), 4.0))


def test_a_row_depends_on_itself_alone_though_the_teacher_has_batchnorm_and_dropout() -> None:
    teacher = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).train()
    batch, net = batch_of(), mlp(4, 8, 3)
    run = Run(Classify(net), [Distil(teacher), sgd(0.1)])
    values = []
    for x in (batch.x, torch.cat([batch.x[:1], -batch.x[1:]])):
        loss = run.loss("model", run.params("model"), Batch(x, batch.y))
        values.append(loss.terms["distil"].value[0])
    assert torch.equal(*values)
    assert teacher.training and all(p.requires_grad for p in teacher.parameters())  # the caller's stays as it was


def test_the_teacher_sees_the_rows_as_the_student_does() -> None:
    torch.manual_seed(0)
    run = trained(MixUp(3, alpha=1.0), Distil(mlp(4, 3)))
    assert run.step == 10 and set(run.losses["model"].terms) == {"task", "distil"}


def test_a_teacher_may_be_an_objective() -> None:
    net, teacher, batch = mlp(4, 8, 3), mlp(4, 3), batch_of()
    found = [terms(Distil(t), net=net, batch=batch)["distil"] for t in (teacher, Classify(teacher))]
    assert torch.equal(*found)


def test_nothing_of_the_teacher_is_trained_or_shipped() -> None:
    teacher = mlp(4, 16, 3)
    before = weights(teacher)
    run = trained(Distil(teacher))
    assert torch.equal(weights(teacher), before) and all(p.grad is None for p in teacher.parameters())
    assert sum(v.numel() for v in run.weights().values()) == weights(mlp(4, 8, 3)).numel()


def test_going_on_with_another_teacher_is_refused() -> None:
    first = trained(Distil(mlp(4, 3)))
    run = Run(Classify(mlp(4, 8, 3)), [Distil(mlp(4, 3)), sgd(0.1)])
    with pytest.raises(SondeError, match="the teacher is not the one that this run began with"):
        run.load_state_dict(first.state_dict())


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose model is a small net for the digits."""
    data = load("digits")
    build = Build(Classify, net=Build(MLP, shape=(1, 8, 8), outputs=10, widths=(12,)))
    folder = tmp_path_factory.mktemp("runs") / "big"
    Bundle.of(build().eval(), build, data).save(folder / "model")
    return folder


@pytest.mark.parametrize("part", ["", "model"])
def test_a_teacher_may_be_the_folder_of_a_run(taught: Path, part: str) -> None:
    data = load("digits")
    batch = data.batch(torch.arange(6))
    net = MLP(shape=(1, 8, 8), outputs=10, widths=())
    found = terms(Distil(str(taught / part), 2.0, 1.0), net=net, batch=batch)["distil"]
    teacher = Bundle.load(taught / "model").objective.net
    torch.testing.assert_close(found, softened(net(batch.x), teacher(batch.x), 2.0))  # type: ignore[operator]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SondeError, match="there is no trained model in"):
        trained(Distil(str(tmp_path)))
    with pytest.raises(Refused, match="is a pickle"):
        trained(Distil(str(tmp_path / "net.pt")))


def test_other_classes_are_refused() -> None:
    with pytest.raises(SondeError, match="the teacher answers with .*5.* numbers a row, the student with .*3"):
        trained(Distil(mlp(4, 5)))


def test_anything_but_a_classifier_is_refused() -> None:
    x, _ = blobs()
    with pytest.raises(Refused, match="Distil needs a classification objective"):
        fit(Run(Regress(nn.Linear(4, 1)), [Distil(mlp(4, 1)), sgd(0.1)]), Rows(x, x[:, :1]), Budget(steps=1))
    with pytest.raises(Refused, match="the teacher, a Regress, has no logits"):
        Run(Classify(mlp(4, 8, 3)), [Distil(Regress(nn.Linear(4, 3))), sgd(0.1)]).gradient("model", Batch(x, x[:, :3]))


@pytest.mark.parametrize("given", [{"temperature": 0.0}, {"temperature": math.inf}, {"alpha": 1.1}, {"alpha": -0.1}])
def test_impossible_settings_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="temperature is above 0|alpha lies in"):
        Distil(mlp(4, 3), **given)


# ---------------------------------------------------------------- hints
def test_a_hint_is_half_the_mean_square_between_the_layers() -> None:
    student, teacher, batch = mlp(4, 8, 3), mlp(4, 8, 3), batch_of()
    found = terms(Hint(teacher, "1", "net.1", strength=2.0), net=student, batch=batch)["hint"]
    u, v = teacher[:2](batch.x), student[:2](batch.x)
    torch.testing.assert_close(found, (u - v).square().mean(1))


@pytest.mark.parametrize("width", [5, 12])
def test_between_layers_of_different_width_a_map_is_learnt(width: int) -> None:
    torch.manual_seed(0)
    student, teacher = mlp(4, 8, 3), mlp(4, width, 3)
    method = Hint(teacher, "0", "net.0", strength=1.0)
    run = Run(Classify(student), [method, sgd(0.1)])
    assert run.params("model")["hint_regressor.weight"].shape == (width, 8)
    before = run.loss("model", run.params("model"), batch_of()).terms["hint"].value.mean()
    fit(run, Rows(*blobs(), batch_size=16), Budget(steps=200))
    after = run.loss("model", run.params("model"), batch_of()).terms["hint"].value.mean()
    assert after < 0.1 * before
    r = method._regressor
    assert r is not None
    x = batch_of().x
    mapped = student[:1](x) @ r.weight.T + r.bias
    value = 0.5 * (mapped - teacher[:1](x)).square().mean(1)
    torch.testing.assert_close(run.loss("model", run.params("model"), batch_of()).terms["hint"].value, value)


def test_the_map_is_in_the_runs_state_and_never_shipped() -> None:
    torch.manual_seed(0)
    run = trained(Hint(mlp(4, 5, 3), "0", "net.0"), EMA(0.5))
    assert set(run.weights()) == set(Classify(mlp(4, 8, 3)).state_dict())
    Classify(mlp(4, 8, 3)).load_state_dict(run.weights())
    assert set(run.methods[0].state_dict()["regressor"]) == {"weight", "bias"}
    with run.evaluating():
        pass


def test_pictures_are_matched_channel_by_channel_at_every_position() -> None:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 3))
    teacher = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))
    x, y = torch.rand(32, 1, 8, 8), torch.randint(3, (32,))
    method = Hint(teacher, "0", "net.0")
    run = Run(Classify(student), [method, sgd(0.05)])
    fit(run, Rows(x, y, batch_size=16), Budget(steps=3))
    r = method._regressor
    assert r is not None
    value = run.loss("model", run.params("model"), Batch(x, y)).terms["hint"].value
    mapped = F.conv2d(student[0](x), r.weight[:, :, None, None], r.bias)
    torch.testing.assert_close(value, 0.5 * (mapped - teacher[0](x)).square().flatten(1).mean(1))


def test_a_method_that_evaluates_other_rows_in_between_does_not_mix_them_up() -> None:
    class Elsewhere(Method):
        def loss(self, at: At, loss: Loss) -> Loss:
            at.evaluate(Batch(-at.batch.x, at.batch.y))
            return loss

    student, teacher, batch = mlp(4, 8, 3), mlp(4, 8, 3), batch_of()
    plain = terms(Hint(teacher, "1", "net.1"), net=student, batch=batch)["hint"]
    assert torch.equal(terms(Elsewhere(), Hint(teacher, "1", "net.1"), net=student, batch=batch)["hint"], plain)


def test_without_strength_there_is_no_hint() -> None:
    found = []
    for extra in ([], [Hint(mlp(4, 3), "nowhere", "neither", strength=0.0)]):
        torch.manual_seed(0)
        found.append(weights(trained(*extra, net=mlp(4, 8, 3)).objective))
    assert torch.equal(*found)


@pytest.mark.parametrize(
    "names, cause",
    [
        (("0", "nowhere"), r"the student has no layer 'nowhere'\n  choose one of net, net.0"),
        (("9", "net.0"), "the teacher has no layer '9'"),
        (("0", "0"), r"the student has no layer '0'\n  choose one of net.0"),
    ],
)
def test_a_layer_that_is_not_there_is_named(names: tuple[str, str], cause: str) -> None:
    with pytest.raises(SondeError, match=cause):
        trained(Hint(mlp(4, 8, 3), *names))


def test_activations_of_different_width_are_refused() -> None:
    with pytest.raises(SondeError, match="layers that agree beyond the channels; (.|\n)*name two dense layers"):
        trained(Hint(mlp(4, 5, 3), "1", "net.1"))


def test_layers_of_other_positions_are_refused() -> None:
    student = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(108, 3))
    teacher = nn.Sequential(nn.Conv2d(1, 3, 5), nn.Flatten(), nn.Linear(48, 3))
    source = Rows(torch.rand(8, 1, 8, 8), torch.randint(3, (8,)))
    with pytest.raises(SondeError, match="Hint compares layers that agree beyond the channels"):
        trained(Hint(teacher, "0", "net.0"), net=student, source=source)

"""Trains the sample model, HomeCreditDefaultModel, on generated applicants and writes it with its input example.

Run it from the repository's root: `python scripts/train_sample_model.py`. It needs numpy and onnx, takes some seconds,
and writes the same bytes every time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

MODEL_FOLDER = Path("model_repository/HomeCreditDefaultModel")
FEATURES = (
    "AMT_INCOME_TOTAL",
    "AMT_CREDIT",
    "AMT_ANNUITY",
    "DAYS_BIRTH",
    "DAYS_EMPLOYED",
    "bureau_credit_count",
    "bureau_credit_active_count",
    "bureau_credit_days_enddate_mean",
    "bureau_amt_credit_sum",
    "bureau_amt_credit_sum_overdue",
)
DEFAULT_RATE = 0.08
# Gives this rate: found once, by bisection on a million applicants.
INTERCEPT = -2.764

SEED = 20240801
TRAINING_COUNT = 40_000
HELD_OUT_COUNT = 20_000
EXAMPLE_COUNT = 256

LAYER_SIZES = (len(FEATURES), 64, 32, 1)
EPOCHS = 6
BATCH_SIZE = 512
LEARNING_RATE = 0.05
MOMENTUM = 0.9
# Weights end on this grid: processors add in different orders, and without it the last bits would follow the machine.
WEIGHT_STEP = 2.0**-10

# The newest ones that servers of the last years read.
OPSET = 17
IR_VERSION = 8

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Network:
    """A scaler and the layers of an MLP, in the order in which they are applied."""

    mean: Array
    deviation: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


def applicants(count: int, random: np.random.Generator) -> Array:
    """Applicants as rows of `FEATURES`, with the units, ranges and skews of the Home Credit data.

    Amounts are in the data's currency; days are counted from the application, so that the past is negative.
    """
    normal = random.standard_normal
    income = np.clip(np.round(np.exp(11.9 + 0.48 * normal(count)) / 4500) * 4500, 27_000, 4_500_000)
    credit = np.clip(
        np.round(np.exp(13.05 + 0.35 * (np.log(income) - 11.9) + 0.62 * normal(count)) * 2) / 2, 45_000, 4_050_000
    )
    annuity = np.round(credit * np.clip(0.052 + 0.018 * normal(count), 0.022, 0.12) * 2) / 2
    birth = -np.round(7_500 + 17_600 * random.random(count) ** 1.1)
    adult_days = -birth - 18 * 365
    employed = -np.round(np.minimum(-np.log1p(-random.random(count)) * 2_400, 0.9 * adult_days))
    loans = np.minimum(np.floor(np.exp(1.35 + 0.85 * normal(count)) * (random.random(count) > 0.14)), 60)
    active = np.round(loans * random.random(count) ** 1.4)
    known = loans > 0
    end_date = np.round(np.where(active > 0, 900.0, -700.0) + 1_100 * normal(count)) * known
    owed = np.round(loans * np.exp(11.7 + 0.9 * normal(count)) * 100) / 100
    late = known & (random.random(count) < 0.03 + 0.01 * np.minimum(active, 5))
    overdue = np.minimum(np.round(np.exp(8.2 + 1.6 * normal(count)) * 100) / 100, 200_000) * late
    columns = [income, credit, annuity, birth, employed, loans, active, end_date, owed, overdue]
    # Adding zero turns -0.0 into 0.0.
    return np.asarray(np.stack(columns, axis=1) + 0.0)


def default_probability(rows: Array) -> Array:
    """What the generator holds for true: each applicant's probability of defaulting."""
    income, credit, annuity, birth, employed, loans, active, end_date, owed, overdue = rows.T
    age_years, employed_years = -birth / 365.25, -employed / 365.25
    risk = (
        -0.045 * (age_years - 43)
        - 0.55 * np.log1p(employed_years)
        + 3.2 * (annuity / income - 0.18)
        + 0.35 * np.log(credit / 500_000)
        + 0.9 * np.where(loans > 0, active / np.maximum(loans, 1), 0.45)
        + 0.28 * np.minimum(active, 8)
        - 0.06 * np.minimum(loans, 12)
        + 0.00018 * end_date
        - 0.05 * np.log1p(owed / 1e5)
        + 0.14 * np.log1p(overdue)
        + 0.6 * ((age_years < 30) & (credit > 800_000))
    )
    return np.asarray(1 / (1 + np.exp(-(0.75 * risk + INTERCEPT))))


def labelled(count: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Applicants, and whether each one defaulted (1.0) or not (0.0)."""
    rows = applicants(count, random)
    return rows, (random.random(count) < default_probability(rows)).astype(np.float64)


def train(rows: Array, labels: Array, random: np.random.Generator) -> Network:
    """Fits the scaler, then the MLP by gradient descent with momentum on the cross-entropy."""
    mean = np.round(rows.mean(axis=0), 3)
    deviation = np.round(rows.std(axis=0), 3)
    scaled = (rows - mean) / deviation
    sizes = list(pairwise(LAYER_SIZES))
    weights = [random.standard_normal(size) * np.sqrt(2 / size[0]) for size in sizes]
    parameters = [*weights, *(np.zeros(size[1]) for size in sizes)]
    speeds = [np.zeros_like(parameter) for parameter in parameters]
    batches = list(_batches(len(rows), random))
    for step, batch in enumerate(batches):
        rate = LEARNING_RATE * (1 - step / len(batches))
        gradients = _gradients(parameters, scaled[batch], labels[batch])
        speeds = [MOMENTUM * speed - rate * gradient for speed, gradient in zip(speeds, gradients, strict=True)]
        parameters = [parameter + speed for parameter, speed in zip(parameters, speeds, strict=True)]
    rounded = [np.round(parameter / WEIGHT_STEP) * WEIGHT_STEP for parameter in parameters]
    return Network(mean, deviation, tuple(rounded[: len(sizes)]), tuple(rounded[len(sizes) :]))


def _batches(count: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    for _ in range(EPOCHS):
        order = random.permutation(count)
        yield from np.array_split(order, count // BATCH_SIZE)


def _gradients(parameters: list[Array], rows: Array, labels: Array) -> list[Array]:
    """Gradients of the mean cross-entropy, by back-propagation; in the order of `parameters`."""
    depth = len(parameters) // 2
    weights, biases = parameters[:depth], parameters[depth:]
    layers = [rows]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        layers.append(np.maximum(layers[-1] @ weight + bias, 0))
    logits = (layers[-1] @ weights[-1] + biases[-1])[:, 0]
    error = ((1 / (1 + np.exp(-logits)) - labels) / len(rows))[:, None]
    by_weight: list[Array] = []
    by_bias: list[Array] = []
    for index in reversed(range(depth)):
        by_weight.insert(0, layers[index].T @ error)
        by_bias.insert(0, error.sum(axis=0))
        error = (error @ weights[index].T) * (layers[index] > 0)
    return [*by_weight, *by_bias]


def predict(network: Network, rows: Array) -> Array:
    """Probabilities, as the ONNX model gives them but for its single precision."""
    values = (rows - network.mean) / network.deviation
    for weight, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        values = np.maximum(values @ weight + bias, 0)
    return np.asarray(1 / (1 + np.exp(-(values @ network.weights[-1] + network.biases[-1])[:, 0])))


def auc(scores: NDArray[Any], labels: Array) -> float:
    """Area under the ROC curve: how often one who defaults is scored above one who does not."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(1, len(scores) + 1)
    positives = labels.sum()
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def onnx_model(network: Network) -> onnx.ModelProto:
    """`input` FP32 [batch, 10], raw features, gives `output` FP32 [batch, 1], the probability of default."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {"mean": network.mean, "deviation": network.deviation}
    nodes = [
        helper.make_node("Sub", ["input", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["layer_0"]),
    ]
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True), start=1):
        last = index == len(network.weights)
        constants |= {f"weight_{index}": weight, f"bias_{index}": bias}
        inputs = [f"layer_{index - 1}", f"weight_{index}", f"bias_{index}"]
        nodes.append(helper.make_node("Gemm", inputs, [f"sum_{index}"]))
        activation, result = ("Sigmoid", "output") if last else ("Relu", f"layer_{index}")
        nodes.append(helper.make_node(activation, [f"sum_{index}"], [result]))
    graph = helper.make_graph(
        nodes,
        "HomeCreditDefaultModel",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", len(FEATURES)])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(value.astype("<f4"), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def input_example(rows: Array) -> str:
    """Rows as MLflow writes a DataFrame that was given as a model's input example, one a line."""
    lines = ",\n".join(json.dumps(row) for row in rows.tolist())
    return f'{{"columns": {json.dumps(FEATURES)}, "data": [\n{lines}\n]}}\n'


def build() -> tuple[bytes, str, float]:
    """The model's bytes, its input example's text, and its AUC on applicants that it has not seen."""
    random = np.random.default_rng(SEED)
    rows, labels = labelled(TRAINING_COUNT, random)
    network = train(rows, labels, random)
    held_out, defaulted = labelled(HELD_OUT_COUNT, random)
    model = onnx_model(network).SerializeToString(deterministic=True)
    return model, input_example(held_out[:EXAMPLE_COUNT]), auc(predict(network, held_out), defaulted)


def main() -> None:
    """Writes the model and its example into `MODEL_FOLDER`."""
    model, example, held_out_auc = build()
    (MODEL_FOLDER / "1").mkdir(parents=True, exist_ok=True)
    (MODEL_FOLDER / "1" / "model.onnx").write_bytes(model)
    (MODEL_FOLDER / "input_example.json").write_text(example, encoding="utf-8")
    print(f"AUC on {HELD_OUT_COUNT:,} held-out applicants: {held_out_auc:.3f}")


if __name__ == "__main__":
    main()

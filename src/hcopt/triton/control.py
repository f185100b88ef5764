"""Loads models into a running Triton and reads what it says about them, over gRPC."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcopt.errors import ModelLoadError, RuntimeStartError
from hcopt.model.inputs.values import LoadTensor
from hcopt.records.measurement import ServerTimes
from hcopt.system import process
from hcopt.triton.base import Endpoint
from hcopt.triton.carried import CarriedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tritonclient.grpc import InferenceServerClient, InferInput

_LOOPBACK = ("127.", "localhost:", "[::1]:")
_NS_PER_US = 1000
# A model's state in the index while its last instance is on its way.
_UNLOADING = "UNLOADING"
_POLL_S = 0.02
_UNAVAILABLE = "StatusCode.UNAVAILABLE"
_TOO_LATE = "StatusCode.DEADLINE_EXCEEDED"
_NO_REASON = "failed to poll from model repository"
_ERROR_LINE = re.compile(r'E\d{4} .*?\] "(.*)"$')


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatistics:
    """A model's counters since it was loaded; they only grow, and start again at 0 with each load.

    Attributes:
        success_count: Requests that were answered well.
        fail_count: Requests that were answered with an error.
        inference_count: Inferences (rows) of the requests that were answered well.
        execution_count: Batches; fewer than requests where dynamic batching merged some.
        success_ns: From a request's arrival to its answer, summed over requests, as all of the following.
        queue_ns: Waiting for an instance or for more requests.
        compute_input_ns: Getting the inputs to the backend.
        compute_infer_ns: In the backend.
        compute_output_ns: Getting the outputs from the backend.
    """

    success_count: int
    fail_count: int
    inference_count: int
    execution_count: int
    success_ns: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int


def server_times(before: ModelStatistics, after: ModelStatistics) -> ServerTimes | None:
    """Where requests spent their time between two readings, as means per request; None where there were none.

    A smaller count than before means that the model was loaded again in between: that is None too.
    """
    requests = after.success_count - before.success_count
    if requests <= 0:
        return None

    def mean_us(passed_ns: int) -> float:
        return passed_ns / requests / _NS_PER_US

    return ServerTimes(
        queue_us=mean_us(after.queue_ns - before.queue_ns),
        compute_input_us=mean_us(after.compute_input_ns - before.compute_input_ns),
        compute_infer_us=mean_us(after.compute_infer_ns - before.compute_infer_ns),
        compute_output_us=mean_us(after.compute_output_ns - before.compute_output_ns),
    )


class ModelControl:
    """Model control and statistics of one server.

    Args:
        endpoint: The server.
        log: Its log, where this process can read it: what is wrong with a config.pbtxt stands nowhere else.
        load_timeout_s: Longest load of a model.
        call_timeout_s: Longest wait for any other answer.
        carried: Models that the server does not have in its repository, by name: each load brings their files along.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        log: Path | None = None,
        load_timeout_s: float = 120.0,
        call_timeout_s: float = 10.0,
        carried: Mapping[str, CarriedModel] | None = None,
    ) -> None:
        self._address = endpoint.grpc
        self._client = self._connected()
        self._log = log
        self._load_timeout_s = load_timeout_s
        self._call_timeout_s = call_timeout_s
        self._carried = carried or {}

    def load(self, name: str, config_json: str | None = None) -> None:
        """Loads a model afresh, with its config.pbtxt or with another configuration.

        One that is there is unloaded first. That is quicker too: where only the number of instances differs Triton
        would change them in place, and taking one away takes it over a second, a load 0.1–0.2 s.

        Args:
            name: The model.
            config_json: Its whole configuration as JSON, in the place of its config.pbtxt.

        Raises:
            RuntimeStartError: It cannot be loaded; carries Triton's own words.
        """
        self.unload(name)
        carried = self._carried.get(name)
        files = None if carried is None else {f"file:{path}": content for path, content in carried.files.items()}
        config = config_json if config_json is not None or carried is None else carried.config_json
        with self._translated(f"Triton cannot load the model {name}", refused=ModelLoadError):
            self._client.load_model(name, config=config, files=files, client_timeout=self._load_timeout_s)

    def unload(self, name: str) -> None:
        """Unloads a model, if it is loaded; returns before its last instance is gone.

        Raises:
            RuntimeStartError: The server does not answer, or refuses.
        """
        with self._translated(f"Triton cannot unload the model {name}"):
            self._client.unload_model(name, client_timeout=self._call_timeout_s)

    def wait_for_unloads(self, names: Collection[str]) -> None:
        """Waits until the last instances of models that were unloaded are gone.

        Raises:
            RuntimeStartError: They do not go, or the server does not answer.
        """
        deadline = time.monotonic() + self._load_timeout_s
        while going := [model.name for model in self._index() if model.name in names and model.state == _UNLOADING]:
            if time.monotonic() > deadline:
                raise RuntimeStartError(f"Triton does not end the instances of {', '.join(going)}")
            time.sleep(_POLL_S)

    def is_ready(self, name: str) -> bool:
        """Whether the model is loaded and answers.

        Raises:
            RuntimeStartError: The server does not answer.
        """
        with self._translated(f"Triton does not say whether the model {name} is ready"):
            return bool(self._client.is_model_ready(name, client_timeout=self._call_timeout_s))

    def repository_models(self) -> tuple[str, ...]:
        """The names of all models in the server's repository, loaded or not.

        Raises:
            RuntimeStartError: The server does not answer.
        """
        return tuple(dict.fromkeys(model.name for model in self._index()))

    def _index(self) -> Sequence[Any]:
        with self._translated("Triton does not list its model repository"):
            return tuple(self._client.get_model_repository_index(client_timeout=self._call_timeout_s).models)

    def server_version(self) -> str:
        """Triton's own version, such as 2.51.0.

        Raises:
            RuntimeStartError: The server does not answer.
        """
        with self._translated("Triton does not say its version"):
            return str(self._client.get_server_metadata(client_timeout=self._call_timeout_s).version)

    def active_config(self, name: str) -> str:
        """The configuration that a loaded model has now, as JSON; `load` takes it back.

        Raises:
            RuntimeStartError: The model is not loaded, or the server does not answer.
        """
        from google.protobuf.json_format import MessageToJson

        with self._translated(f"Triton has no configuration of the model {name}"):
            answer = self._client.get_model_config(name, client_timeout=self._call_timeout_s)
        return str(MessageToJson(answer.config, preserving_proto_field_name=True))

    def statistics(self, name: str) -> ModelStatistics:
        """The counters of a loaded model.

        Raises:
            RuntimeStartError: The model is not loaded, or the server does not answer.
        """
        with self._translated(f"Triton has no statistics of the model {name}"):
            answer = self._client.get_inference_statistics(name, client_timeout=self._call_timeout_s)
        stats = answer.model_stats[0]
        times = stats.inference_stats
        return ModelStatistics(
            success_count=times.success.count,
            fail_count=times.fail.count,
            inference_count=stats.inference_count,
            execution_count=stats.execution_count,
            success_ns=times.success.ns,
            queue_ns=times.queue.ns,
            compute_input_ns=times.compute_input.ns,
            compute_infer_ns=times.compute_infer.ns,
            compute_output_ns=times.compute_output.ns,
        )

    def answers(self, name: str, tensors: Sequence[LoadTensor]) -> dict[str, NDArray[Any]]:
        """All outputs of a loaded model for one request, by name.

        Args:
            name: The model.
            tensors: The request's inputs; `rows` are what an input holds.

        Raises:
            RuntimeStartError: It answers with an error, or not at all.
        """
        with self._translated(f"Triton has no answer of the model {name}"):
            answer = self._client.infer(name, _inputs(tensors), client_timeout=self._load_timeout_s)
            return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}

    def count_refused(
        self, name: str, requests: Sequence[Sequence[LoadTensor]], *, at_once: int, lasts_s: float
    ) -> tuple[int, int]:
        """Keeps so many requests under way for some seconds, and goes on where one is answered with an error.

        perf_analyzer ends at the first, and Triton's own counters leave out those that its queue did not take.

        Args:
            name: The model.
            requests: The inputs of some requests, which are sent in turn; `rows` are what an input holds.
            at_once: How many are under way.
            lasts_s: For how long new ones are sent.

        Returns:
            How many were answered with an error, and how many there were.

        Raises:
            RuntimeStartError: The server does not answer at all.
        """
        from tritonclient.utils import InferenceServerException

        client, turns, ends = self._client, count(), time.monotonic() + lasts_s
        inputs = [*map(_inputs, requests)]

        def slot(_: int) -> tuple[int, int]:
            refused = asked = 0
            while time.monotonic() < ends:
                try:
                    client.infer(name, inputs[next(turns) % len(inputs)], client_timeout=self._call_timeout_s)
                except InferenceServerException:
                    refused += 1
                asked += 1
            return refused, asked

        self.server_version()
        with ThreadPoolExecutor(max_workers=at_once) as slots:
            counted = list(slots.map(slot, range(at_once)))
        return sum(refused for refused, _ in counted), sum(asked for _, asked in counted)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def __enter__(self) -> ModelControl:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self) -> InferenceServerClient:
        from tritonclient.grpc import InferenceServerClient

        # gRPC would send even 127.0.0.1 through a proxy of the environment.
        arguments = [("grpc.enable_http_proxy", 0)] if self._address.startswith(_LOOPBACK) else None
        return InferenceServerClient(self._address, channel_args=arguments)

    @contextmanager
    def _translated(self, failure: str, *, refused: type[RuntimeStartError] = RuntimeStartError) -> Iterator[None]:
        from tritonclient.utils import InferenceServerException

        try:
            yield
        except InferenceServerException as error:
            if error.status() == _UNAVAILABLE:
                # A connection that met a dead server keeps answering so for a second or more after the next is there.
                self._client.close()
                self._client = self._connected()
            # The Python backend puts its own traceback under the message.
            message = error.message().partition("\n\nAt:")[0]
            if self._log is not None and _NO_REASON in message:
                message = f"{message}: {last_error(self._log)}"
            kind = RuntimeStartError if error.status() in (_UNAVAILABLE, _TOO_LATE) else refused
            raise kind(f"{failure}: {message}", log=self._log) from error


def _inputs(tensors: Sequence[LoadTensor]) -> list[InferInput]:
    from tritonclient.grpc import InferInput

    inputs = [InferInput(one.name, list(one.rows.shape), one.datatype) for one in tensors]
    for made, one in zip(inputs, tensors, strict=True):
        made.set_data_from_numpy(one.rows)
    return inputs


def last_error(log: Path) -> str:
    """The text of the last error line in Triton's log; empty where there is none."""
    found = (_ERROR_LINE.match(line) for line in reversed(process.last_lines(log, 50).splitlines()))
    return next((match[1] for match in found if match), "")

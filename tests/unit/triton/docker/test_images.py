"""The layers of an image on their way, as one figure."""

from __future__ import annotations

from hcopt.triton.docker.images import _Layers, image_names, pull_commands


def downloading(layer: str, current: int, total: int) -> dict[str, object]:
    return {"status": "Downloading", "id": layer, "progressDetail": {"current": current, "total": total}}


def test_layers_are_summed_up() -> None:
    layers = _Layers()
    assert not layers.take({"status": "Pulling from nvidia/tritonserver", "id": "26.09-py3"})
    assert not layers.take({"status": "Pulling fs layer", "progressDetail": {}, "id": "a"})
    assert layers.take(downloading("a", 1_000_000, 4_000_000))
    assert layers.state == "1 of 4 MB"
    assert layers.take(downloading("b", 0, 2_000_000_000))
    assert layers.state == "1 of 2,004 MB"
    assert layers.take({"status": "Download complete", "progressDetail": {}, "id": "a"})
    assert layers.state == "4 of 2,004 MB"


def test_figure_that_stays_is_not_told_again() -> None:
    layers = _Layers()
    layers.take(downloading("a", 1_000_000, 4_000_000))
    assert not layers.take(downloading("a", 1_000_001, 4_000_000))
    assert not layers.take({"status": "Extracting", "id": "a", "progressDetail": {"current": 1, "total": 4_000_000}})


def test_commands_are_ready_to_be_typed() -> None:
    assert pull_commands(image_names("26.09").both) == (
        "docker pull nvcr.io/nvidia/tritonserver:26.09-py3 && docker pull nvcr.io/nvidia/tritonserver:26.09-py3-sdk"
    )

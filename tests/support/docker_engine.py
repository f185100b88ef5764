"""A real Docker Engine for the integration tests, and images that stand for NVIDIA's under names of their own.

Each holds Debian, the packages of this environment, and the programs that hcopt asks for on PATH: the server image has
the embedded Triton with hcopt's onnxruntime backend, the SDK image Model Analyzer and perf_analyzer. Their labels say
what they were made of; an engine that has them already is taken as it is.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from docker.errors import APIError, DockerException, ImageNotFound
from packaging.requirements import Requirement

from hcopt.errors import RuntimeStartError
from hcopt.system.process import last_lines, service
from hcopt.triton.docker.engine import docker_client
from hcopt.triton.embedded.backends import find_native_backend
from hcopt.triton.programs import find_library, find_triton

if TYPE_CHECKING:
    from docker import DockerClient

# No release of NVIDIA's: where their images are, these neither hide them nor are hidden by them.
RELEASE = "99.01"
RELEASE_WITHOUT_MODEL_ANALYZER = "99.02"
SERVER_IMAGE = f"nvcr.io/nvidia/tritonserver:{RELEASE}-py3"
SDK_IMAGE = f"nvcr.io/nvidia/tritonserver:{RELEASE}-py3-sdk"
_REPOSITORY = "nvcr.io/nvidia/tritonserver"
_BASE_IMAGE = "hcopt-test-base:bookworm"
_RECIPE = "hcopt.test.recipe"
_DEBOOTSTRAP = (
    "debootstrap",
    "--variant=minbase",
    "--include=python3,libpython3.11,ca-certificates",
    "bookworm",
)
_START_LIMIT_S = 300.0
_HOME = PurePosixPath("/opt/hcopt-standin")
_PACKAGES = _HOME / "site-packages"
_LIBRARIES = _PACKAGES / "nvidia_pytriton.libs"
_ONNXRUNTIME = _HOME / "lib" / "libonnxruntime.so"
_PACKAGES_OF_PYTHON = PurePosixPath("/usr/local/lib/python3.11/dist-packages/hcopt-standin.pth")
# NVIDIA's entry point greets and goes on with what it is told.
_ENTRY_POINT = '#!/bin/sh\necho "== Stand-in for NVIDIA\'s image =="\nexec "$@"\n'
_TRITONSERVER = f"""#!/bin/sh
export LD_LIBRARY_PATH={_LIBRARIES}
export ORT_DISABLE_TELEMETRY=1
exec {_PACKAGES}/pytriton/tritonserver/bin/tritonserver \\
  --backend-directory={_HOME}/backends --backend-config=onnxruntime,library={_ONNXRUNTIME} "$@"
"""
_MODEL_ANALYZER = """#!/usr/bin/python3
import sys
from model_analyzer.entrypoint import main
sys.exit(main())
"""
_PERF_ANALYZER = f"""#!/bin/sh
export LD_LIBRARY_PATH={_HOME}/lib
exec {_HOME}/bin/perf_analyzer "$@"
"""

# What goes into an image: the file, or the text of a script, by its path there.
Content = Mapping[PurePosixPath, Path | str]


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerClient]:
    """The engine of this machine; one that only runs for the tests where none answers and they may start it."""
    with _started_engine(tmp_path_factory) as client:
        yield client


@pytest.fixture(scope="session")
def standin_images(docker_engine: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-ins of both images; the release to ask for."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the stand-in images have Debian's Python 3.11, which needs the packages of a Python 3.11")
    base = _base_image(docker_engine, tmp_path_factory)
    _image(docker_engine, base, f"{RELEASE}-py3", _server_content())
    _image(docker_engine, base, f"{RELEASE}-py3-sdk", _sdk_content())
    return RELEASE


@pytest.fixture(scope="session")
def images_without_model_analyzer(docker_engine: DockerClient, standin_images: str) -> str:
    """A release whose SDK image has no Model Analyzer."""
    server = docker_engine.images.get(SERVER_IMAGE)
    server.tag(_REPOSITORY, f"{RELEASE_WITHOUT_MODEL_ANALYZER}-py3")
    content = {PurePosixPath("/usr/local/bin/perf_analyzer"): "#!/bin/sh\nexit 1\n"}
    _image(docker_engine, _BASE_IMAGE, f"{RELEASE_WITHOUT_MODEL_ANALYZER}-py3-sdk", content)
    return RELEASE_WITHOUT_MODEL_ANALYZER


@contextmanager
def _started_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerClient]:
    with ExitStack() as stack:
        client = _answering(stack)
        if client is None:
            client = stack.enter_context(_own_engine(tmp_path_factory.mktemp("dockerd") / "dockerd.log"))
        yield client


@contextmanager
def _own_engine(log: Path) -> Iterator[DockerClient]:
    if os.geteuid() != 0:
        pytest.skip("no Docker Engine answers, and only root can start one")
    if shutil.which("dockerd") is None:
        pytest.skip("no Docker Engine answers, and none is installed (Debian: apt-get install docker.io iptables)")
    with service(["dockerd"], log=log, env=os.environ, grace_s=30) as process, ExitStack() as stack:
        deadline = time.monotonic() + _START_LIMIT_S
        while (client := _answering(stack)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"dockerd is not ready:\n{last_lines(log)}")
            time.sleep(0.2)
        yield client


def _answering(stack: ExitStack) -> DockerClient | None:
    try:
        client = stack.enter_context(docker_client())
        client.ping()
    except (RuntimeStartError, DockerException):
        return None
    return client


def _base_image(client: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    recipe = hashlib.sha256(" ".join(_DEBOOTSTRAP).encode()).hexdigest()
    if _has(client, _BASE_IMAGE, recipe):
        return _BASE_IMAGE
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("the stand-in images are made by debootstrap, as root")
    root = tmp_path_factory.mktemp("base") / "root"
    made = subprocess.run([*_DEBOOTSTRAP, str(root)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.fail(f"debootstrap ended with {made.returncode}:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        repository, tag = _BASE_IMAGE.split(":")
        client.api.import_image_from_stream(
            tar.stdout, repository=repository, tag=tag, changes=[f"LABEL {_RECIPE}={recipe}"]
        )
    shutil.rmtree(root)
    return _BASE_IMAGE


def _has(client: DockerClient, name: str, recipe: str) -> bool:
    try:
        image = client.images.get(name)
    except ImageNotFound:
        return False
    return image.labels.get(_RECIPE) == recipe


def _image(client: DockerClient, base: str, tag: str, content: Content) -> None:
    recipe = _recipe(client.images.get(base).labels.get(_RECIPE, base), content)
    if _has(client, f"{_REPOSITORY}:{tag}", recipe):
        return
    before = client.images.list(f"{_REPOSITORY}:{tag}")
    entry_point = PurePosixPath("/opt/nvidia/nvidia_entrypoint.sh")
    container = client.containers.create(base, command=["true"])
    try:
        container.put_archive("/", _archive({entry_point: _ENTRY_POINT, **content}))
        container.commit(_REPOSITORY, tag, changes=[f'ENTRYPOINT ["{entry_point}"]', f"LABEL {_RECIPE}={recipe}"])
    finally:
        container.remove()
    for image in before:
        # In use, or under another name: then it stays.
        with suppress(APIError):
            client.images.remove(str(image.id))


def _recipe(base: str, content: Content) -> str:
    """The same wherever the same versions are installed, so that checkouts share an engine's images."""
    digest = hashlib.sha256(f"{base}{_ENTRY_POINT}".encode())
    for path, source in sorted(content.items()):
        if isinstance(source, str) or (path.parent.name.endswith(".dist-info") and path.name == "METADATA"):
            digest.update(f"{path}{source if isinstance(source, str) else source.read_text()}".encode())
    for name in ("nvidia-pytriton", "tritonclient"):
        digest.update(metadata.version(name).encode())
    return digest.hexdigest()


def _archive(content: Content) -> Iterator[bytes]:
    """A tar file, piece by piece."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w|") as tar:
        for path, source in content.items():
            if isinstance(source, str):
                entry = tarfile.TarInfo(str(path.relative_to("/")))
                entry.mode, entry.size = 0o755, len(source.encode())
                tar.addfile(entry, io.BytesIO(source.encode()))
            else:
                tar.add(source.resolve(), str(path.relative_to("/")), recursive=False, filter=_owned_by_root)
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode |= 0o444
    return entry


def _server_content() -> Content:
    triton, backend = find_triton(), find_native_backend()
    return {
        PurePosixPath("/usr/local/bin/tritonserver"): _TRITONSERVER,
        _HOME / "backends" / "onnxruntime" / backend.library.name: backend.library,
        _ONNXRUNTIME: backend.onnxruntime,
        **_below(_PACKAGES, triton.libraries.parent, triton.tritonserver.parent),
        **_below(_LIBRARIES, triton.libraries),
    }


def _sdk_content() -> Content:
    libraries = find_triton().libraries
    programs = PurePosixPath("/usr/local/bin")
    return {
        programs / "model-analyzer": _MODEL_ANALYZER,
        programs / "perf_analyzer": _PERF_ANALYZER,
        _HOME / "bin" / "perf_analyzer": Path(sys.executable).parent / "perf_analyzer",
        _HOME / "lib" / "libb64.so.0d": find_library(libraries, "libb64-*.so.0d"),
        _HOME / "lib" / "libcudart.so.12": find_library(libraries, "libcudart-*.so.12*"),
        _PACKAGES_OF_PYTHON: f"{_PACKAGES}\n",
        **_packages("triton-model-analyzer"),
    }


def _below(target: PurePosixPath, root: Path, folder: Path | None = None) -> Content:
    files = (path for path in (folder or root).rglob("*") if path.is_file())
    return {target / path.relative_to(root).as_posix(): path for path in files}


def _packages(name: str) -> Content:
    """The files of a distribution and of all that it requires, compiled modules too where there are some."""
    content: dict[PurePosixPath, Path | str] = {}
    for distribution in _closure(name):
        for file in distribution.files or ():
            if ".." in file.parts:
                continue
            path = Path(str(distribution.locate_file(file)))
            for source in (path, *path.parent.glob(f"__pycache__/{path.stem}.cpython-311.pyc")):
                if source.is_file():
                    content[_PACKAGES / file.parent / source.relative_to(path.parent).as_posix()] = source
    return content


def _closure(name: str) -> list[metadata.Distribution]:
    found: dict[tuple[str, frozenset[str]], metadata.Distribution] = {}
    wanted = [Requirement(name)]
    while wanted:
        requirement = wanted.pop()
        key = (requirement.name.lower(), frozenset(requirement.extras))
        if key in found:
            continue
        try:
            found[key] = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            # requirements.txt leaves out what no machine without a GPU needs.
            continue
        for text in found[key].requires or ():
            further = Requirement(text)
            extras = ("", *requirement.extras)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                wanted.append(further)
    return list(found.values())

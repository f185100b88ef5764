"""Where runs are measured, by `executor` of the configuration: this machine, or each kind of node of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.errors import ConfigError
from hcopt.job.stages import ModelRun, Stages, served_stages
from hcopt.records.note import Note
from hcopt.system.machine_lock import measuring_alone
from hcopt.system.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """A machine, or a kind of machines, on which the stages of a run are done.

    Attributes:
        stages: Makes ready what the stages need, and takes it down with the context, whatever ended that;
            RuntimeStartError where Triton does not serve.
        name: The kind of machine, where that is a choice.
        server_cores: CPUs there; None: those of this machine.
    """

    stages: Callable[[ModelRun], AbstractContextManager[Stages]] = served_stages
    name: str | None = None
    server_cores: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Executors:
    """On what a run's models are measured: each of them on each executor.

    Attributes:
        all: At least one.
        at_once: How many runs may be under way at once.
        stop: Ends what is under way, in whatever threads.
        opened: Takes the run's folder, for others who want to measure here.
    """

    all: tuple[Executor, ...] = field(default_factory=lambda: (Executor(),))
    at_once: int = 1
    stop: Callable[[], None] = lambda: None
    opened: Callable[[Path], None] = lambda _: None

    def named(self, name: object) -> Executor:
        """The one with this name; where there is none the first, at which a run from elsewhere is refused."""
        return next((one for one in self.all if one.name == name), self.all[0])


def open_executors(
    config: Config, *, command: str, force: bool, progress: Progress
) -> AbstractContextManager[Executors]:
    """The executors, for as long as the context lasts.

    Args:
        config: The configuration.
        command: The command line, for others who want to measure here.
        force: See `measuring_alone`.
        progress: Shows what is under way.

    Raises:
        BusyError: Another run measures on this machine, and `force` is off.
        ConfigError: Ray is asked for, and not installed.
        RuntimeStartError: There is no cluster, or nothing on it that can measure.
    """
    if config.executor.kind == "local":
        return _here(command, force=force, note=progress.note)
    return _on_ray(config, progress)


@contextmanager
def _here(command: str, *, force: bool, note: Callable[[Note], None]) -> Iterator[Executors]:
    with measuring_alone(command, force=force, note=note) as opened:
        yield Executors(opened=opened)


@contextmanager
def _on_ray(config: Config, progress: Progress) -> Iterator[Executors]:
    if find_spec("ray") is None:
        raise ConfigError(
            "executor.kind is ray, and Ray is not installed here",
            remedy="pip install 'hcopt[ray]', with the version of Ray that the cluster has.",
        )
    if config.runtime.is_remote:
        raise ConfigError(
            "executor.kind is ray and runtime.kind is remote: nodes measure servers of their own",
            remedy="Give --runtime embedded or docker, or leave out --executor.",
        )
    from hcopt.job.cluster.nodes import class_names
    from hcopt.job.cluster.pool import Pool
    from hcopt.job.cluster.ray_cluster import connected
    from hcopt.job.cluster.stages import cluster_stages

    settings, models = config.executor, len(config.each())
    progress.phase("nodes")
    with connected(settings.address, bring_package=settings.package == "bring") as cluster:
        pool = Pool(
            cluster=cluster,
            config=config.model_copy(update={"models": ()}).model_dump(mode="json"),
            note=progress.note,
            silence_s=settings.silence_s,
        )
        kinds = pool.classes()
        names = class_names(kinds)
        for name, kind in zip(names, kinds, strict=True):
            progress.told(f"{len(kind.nodes)} × {name}: {', '.join(node.name for node in kind.nodes[:8])}")
        yield Executors(
            all=tuple(
                Executor(
                    stages=partial(
                        cluster_stages,
                        pool=pool,
                        kind=kind.environment,
                        max_shards=max(1, len(kind.nodes) // models),
                    ),
                    name=name,
                    server_cores=kind.environment.cpu_count,
                )
                for name, kind in zip(names, kinds, strict=True)
            ),
            # Each has one thread, which waits; beyond what the nodes can do at once there is preparing and reporting.
            at_once=models * len(kinds),
            stop=pool.stop,
        )

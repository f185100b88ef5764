"""Kills runs at many points and prints a table: `python -m tests.faults --kills 100 --seed 1`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from tests.faults.scenes import EVERY_STAGE, FRESH_REGISTRY, MODEL_ANALYZER, Scene
from tests.faults.stories import Story, Undisturbed, draw_aims, tell, undisturbed

# How often each scene has its turn: the first has all stages, Model Analyzer takes long.
_TURNS = (EVERY_STAGE, MODEL_ANALYZER, EVERY_STAGE, FRESH_REGISTRY)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kill points, at least (default 100)")
    parser.add_argument("--seed", type=int, default=None, help="seed of all that is drawn (default: from the clock)")
    parser.add_argument("--kills-per-run", type=int, default=4, help="kills of one run on its way (default 4)")
    parser.add_argument("--at-once", type=int, default=3, help="runs at a time (default 3)")
    return parser.parse_args()


def main() -> int:
    """Runs the stories; 0 where all kill points were good."""
    asked = _asked()
    seed = int(time.time()) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    root = Path(tempfile.mkdtemp(prefix="hcopt-faults-"))
    scenes = {scene.name: scene for scene in _TURNS}
    with ThreadPoolExecutor(asked.at_once) as pool:
        folders = [root / f"undisturbed_{number}" for number in range(len(scenes))]
        seen = dict(zip(scenes, pool.map(undisturbed, scenes.values(), folders), strict=True))
    stories = list(_stories(asked, random.Random(seed), seen, root))
    print(_table(stories))
    kills = sum(len(story.kills) for story in stories)
    good = sum(story.good_kills for story in stories)
    print(f"{good} of {kills} kill points: resumed, complete, nothing left, nothing lost, nothing twice (seed {seed})")
    if good == kills and not any(story.faults for story in stories):
        root.rmdir()
        return 0
    print(f"what went wrong is kept in {root}")
    return 1


def _stories(
    asked: argparse.Namespace, draw: random.Random, seen: Mapping[str, Undisturbed], root: Path
) -> Iterator[Story]:
    """One after another as they end, until there are enough kill points."""
    number, kills = 0, 0
    running = set[Future[Story]]()
    with ThreadPoolExecutor(asked.at_once) as pool:
        while running or kills < asked.kills:
            while len(running) < asked.at_once and kills + asked.kills_per_run * len(running) < asked.kills:
                scene: Scene = _TURNS[number % len(_TURNS)]
                aims = draw_aims(scene, seen[scene.name], asked.kills_per_run, draw)
                running.add(pool.submit(tell, scene, aims, root / f"run_{number}", seen[scene.name].whole))
                number += 1
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                story = future.result()
                kills += len(story.kills)
                print(_said(story, kills), flush=True)
                yield story


def _said(story: Story, kills: int) -> str:
    lines = [f"[{kills:3}] {story.scene}: {story.good_kills} of {len(story.kills)} good"]
    for kill in story.kills:
        lines += [f"      {kill.aim}", *(f"        FAULT {fault}" for fault in kill.faults)]
    return "\n".join([*lines, *(f"      FAULT in the end: {fault}" for fault in story.faults)])


def _table(stories: list[Story]) -> str:
    """Kill points by stage and kind, with how many of them were good."""
    total, good = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for story in stories:
        for kill in story.kills:
            key = (kill.stage, "at a moment" if kill.aim.after_s is not None else "at a file operation")
            total[key] += 1
            good[key] += not kill.faults and not story.faults
    order = {stage: place for place, stage in enumerate((*EVERY_STAGE.stages, *FRESH_REGISTRY.stages))}
    rows = sorted(total, key=lambda key: (order[key[0]], key[1]))
    return "\n".join(
        ["", f"{'stage':14} {'killed':20} good", *(f"{s:14} {k:20} {good[s, k]} of {total[s, k]}" for s, k in rows), ""]
    )


if __name__ == "__main__":
    sys.exit(main())

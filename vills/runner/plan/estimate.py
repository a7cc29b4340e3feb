"""What a sweep will cost: jobs, wall time and GPU-hours, from a throughput that somebody states."""

import math
from dataclasses import dataclass

from vills.config.resources import Resources
from vills.data.layouts.counts import OFFICIAL_COUNTS
from vills.runner.plan.nodes import Node, Plan

START_MINUTES = 5.0
"""Of every job: until the first step, and for the last checkpoint."""


@dataclass(frozen=True)
class Estimate:
    """One run."""

    minutes: float | None
    """Of work; None: nothing is stated that would tell."""
    jobs: int
    """Jobs under the time limit (the first one, and its requeues)."""
    gpus: int
    """GPUs of each."""
    why: str = ""
    """How the minutes follow, or what is missing."""

    @property
    def wall_hours(self) -> float:
        """Hours that devices are held."""
        return (self.minutes or 0.0) / 60.0

    @property
    def gpu_hours(self) -> float:
        """Hours times GPUs."""
        return self.wall_hours * self.gpus


def compute_estimate(node: Node, plan: Plan, resources: Resources) -> Estimate:
    """Return what a node's run takes."""
    if node.step.stage == "pretrain":
        minutes, why = _estimate_pretrain(node, plan, resources)
    else:
        stated = resources.estimate.minutes
        minutes = stated.get(node.step.item, stated.get("default"))
        why = f"{minutes:g} min given" if minutes is not None else "no minutes are given"
    room = resources.timeout_min - resources.signal_seconds / 60.0 - START_MINUTES
    jobs = 1 if minutes is None else max(1, math.ceil(minutes / max(room, 1.0)))
    return Estimate(minutes, jobs, resources.num_gpus, why)


def count_images(plan: Plan) -> int | None:
    """Count the images of an epoch, from the plan alone: an empty clone has no manifest."""
    if "curate" not in plan:
        return None
    if "miniature" in plan:
        return int(plan["miniature"].step.sections["miniature"]["num_luperson_images"])
    counts = [
        int(source["keep"]) or OFFICIAL_COUNTS["luperson"]["images"]
        for source in plan["curate"].step.sections["curate"]["sources"].values()
        if source["role"] == "pretrain_images" and source["layout"] == "luperson"
    ]
    return sum(counts) or None


def _estimate_pretrain(node: Node, plan: Plan, resources: Resources) -> tuple[float | None, str]:
    config = node.step.sections["pretrain"]
    width = config["model"]["width"]
    rate = resources.estimate.images_per_gpu_second.get(str(width))
    if rate is None:
        return None, f"no images_per_gpu_second is given for width {width}"
    total = config["max_steps"] * config["image_batch"]
    total = total or config["epochs"] * (count_images(plan) or 0)
    if not total:
        return None, "the number of images is not known"
    processes = resources.nodes * resources.num_tasks
    why = f"{total:,.0f} images at {rate:g} a second on each of {processes}"
    return total / (rate * processes) / 60.0, why

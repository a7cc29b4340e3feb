"""A street scene: several people walk through one camera's picture and pass each other."""

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np

from vills.miniature import sample_rng
from vills.miniature.camera import Camera, build_place, render_photo
from vills.miniature.canvas import (
    SUPERSAMPLE,
    Canvas,
    Image,
    Instance,
    build_instance,
    convert_to_painting,
    convert_to_picture,
)
from vills.miniature.crop import render_actor
from vills.miniature.figure import render_shadow
from vills.miniature.people import Actor
from vills.miniature.predictions import Clutter
from vills.miniature.sink import Sink
from vills.miniature.walk import Placement

HEIGHT, WIDTH = 216, 384
FRAMES_PER_SECOND = 12
_HORIZON = 0.32
_FOCAL = 400.0  # px
_CAMERA_HEIGHT = 1.55  # m
_NEAREST = 3.9  # m


@dataclass(frozen=True, slots=True)
class Walker:
    """A straight walk over the ground; metres, x to the right, z away from the camera."""

    actor: Actor
    x: float
    z: float
    """Where the walker is half-way through the scene."""
    heading: float
    """0 comes towards the camera's plane, pi/2 goes to the right."""
    phase: float

    @property
    def speed(self) -> float:
        """Metres per second: two steps a cycle, as long as the legs and the stride make them."""
        body, gait = self.actor.identity.body, self.actor.identity.gait
        return 4.0 * body.leg * body.height * float(np.sin(gait.stride)) * gait.frequency


def sample_walkers(actors: list[Actor], rng: np.random.Generator) -> list[Walker]:
    """Draw walks that meet in the middle of the picture, at different depths."""
    # More than three take more room, so that not everybody hides everybody.
    room = max(1.0, len(actors) / 3)
    farthest = 4.7 + 2.9 * min(room, 1.5)
    depths = np.linspace(4.7, farthest, len(actors)) + rng.uniform(-0.3, 0.3, size=len(actors))
    rng.shuffle(depths)
    walkers = []
    for actor, z in zip(actors, depths, strict=True):
        sideways = rng.random() < 0.8
        turn = rng.uniform(60, 120) if sideways else rng.uniform(-20, 20)
        if not sideways and rng.random() < 0.4:
            turn += 180
        heading = np.deg2rad(turn * rng.choice((-1.0, 1.0)))
        walkers.append(
            Walker(
                actor=actor,
                x=float(rng.uniform(-0.9, 0.9)) * room,
                z=float(z if sideways else max(z, 6.6)),
                heading=float(heading),
                phase=float(rng.uniform(0, 2 * np.pi)),
            )
        )
    return walkers


def render_frame(
    camera: Camera, walkers: Sequence[Walker], rng: np.random.Generator, *, time: float
) -> tuple[Image, list[Instance]]:
    """Return one frame, `time` seconds from the middle of the scene, and its truth.

    Returns:
        uint8 [HEIGHT, WIDTH, 3] RGB and the instances that show, from far to near.
    """
    canvas = Canvas(_build_stage(camera).copy())
    painted = []
    placed = [(*_place(walker, time), walker) for walker in walkers]
    far_first = sorted(placed, key=lambda found: -found[0])
    for slot, (_, where, walker) in enumerate(far_first, start=1):
        if not -0.5 < where.x / (WIDTH * SUPERSAMPLE) < 1.5:
            continue
        render_shadow(canvas, where)
        painted.append(
            render_actor(canvas, slot, walker.actor, where, phase=walker.phase, time=time)
        )
    small = convert_to_picture(canvas.colour)
    instances = [build_instance(canvas, figure) for figure in painted if figure is not None]
    return render_photo(camera, small, rng), instances


@functools.lru_cache(maxsize=16)
def _build_stage(camera: Camera) -> Image:
    """Return what `camera` sees without people, at the painter's size."""
    place = build_place(camera, HEIGHT, WIDTH, _HORIZON)
    return convert_to_painting(place.cut(0, 0, HEIGHT, WIDTH))


def _place(walker: Walker, time: float) -> tuple[float, Placement]:
    """Return how far away the walker is, metres, and where they are on the canvas."""
    way = walker.speed * time
    x = walker.x + way * float(np.sin(walker.heading))
    z = max(walker.z - way * float(np.cos(walker.heading)), _NEAREST)
    return z, Placement(
        x=(WIDTH / 2 + _FOCAL * x / z) * SUPERSAMPLE,
        y=(HEIGHT * _HORIZON + _FOCAL * _CAMERA_HEIGHT / z) * SUPERSAMPLE,
        scale=_FOCAL * walker.actor.identity.body.height / z * SUPERSAMPLE,
        yaw=walker.heading + float(np.arctan2(x, z)),
        pitch=0.06,
    )


def save_video(
    sink: Sink,
    path: str,
    *,
    camera: Camera,
    walkers: Sequence[Walker],
    clutter: Clutter,
    num_frames: int,
    key: tuple[int, ...],
) -> None:
    """Render a scene as the H.264 mp4 `path`, below the data set's folder, with its frames' rows.

    Walkers are where they say half-way through; `key` is that of the generator of grain and
    predictions, for all frames.
    """
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        # One thread: how x264 shares a frame among threads shows in the bytes.
        # As far from the frames as veryfast at 19 (36 dB), in a third of the time.
        stream.options = {"crf": "20", "preset": "ultrafast", "threads": "1"}
        for frame in range(num_frames):
            rng = sample_rng(*key, frame)
            time = (frame - num_frames / 2) / FRAMES_PER_SECOND
            image, instances = render_frame(camera, walkers, rng, time=time)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(picture))
            sink.describe(path, frame, instances, rng, size=(HEIGHT, WIDTH), clutter=clutter)
        container.mux(stream.encode())
    sink.add_file(path, buffer.getvalue())

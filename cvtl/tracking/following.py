"""What is carried from frame to frame of a source: numbers, counts, smoothed points."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cvtl.errors import UsageError
from cvtl.results import Detections, Landmarks, Localization, Result
from cvtl.tracking.counting import Counting, Known
from cvtl.tracking.motion import Motion
from cvtl.tracking.settings import FollowSettings
from cvtl.tracking.smoothing import OneEuro, size_of
from cvtl.tracking.trackers import NO_ID, ClassTrackers
from cvtl.tracking.zone_file import Places, read_places

_TRACE_SECONDS = 1.0
_SINGLE = 0
# Instances with landmarks have no class.
_INSTANCES = ("instance",)
# Below, a localizer says that there is more likely nothing.
_PRESENT = 0.5


class Followers:
    """Follows what moves in any number of sources, each by itself. Nothing of it is on the model.

    Args:
        settings: what to follow.
        classes: those of the objects, for zones that name some; none where objects have no classes.
        interleaved: whether frames of several sources may come in turn, as those of cameras do. Where they do not, a
            source is forgotten when the next one begins.
        tell: is told in a line of lines and zones that lie beyond a source's frames.

    Raises:
        UsageError: the file of zones cannot be used.

    Example:
        >>> followers = Followers(FollowSettings(track=True), ("ball",))
        >>> for number in range(3):
        ...     box = torch.tensor([[10.0 + 2 * number, 10, 30 + 2 * number, 30]])
        ...     found = Detections(box, torch.tensor([0.9]), torch.tensor([0]), ("ball",))
        ...     followed = followers.follow("a.mp4", number, number / 25, found, size_wh=(64, 48))
        ...     print(followed.to_dict()["ids"])
        [None]
        [1]
        [1]
    """

    def __init__(
        self,
        settings: FollowSettings,
        classes: Sequence[str] = (),
        *,
        interleaved: bool = False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = settings
        self._tell = tell
        self._places = None if settings.zones is None else read_places(settings.zones)
        if self._places is not None and settings.zones is not None:
            self._places.require_classes(classes, settings.zones)
        self._interleaved = interleaved
        self._followers: dict[str, Follower] = {}

    def follow(
        self, source: str, frame: int | None, time: float | None, result: Result, *, size_wh: tuple[int, int]
    ) -> Result:
        """The result with what earlier frames of its source say of it.

        Args:
            source: the name of the video or camera.
            frame: its number; frames of a source come in order. None for a picture, whose result stays as it is.
            time: of the frame in seconds.
            result: of the frame, or of the picture.
            size_wh: of the frame in pixels.
        """
        if frame is None or time is None or not self.settings.follows:
            return result
        follower = self._followers.get(source)
        # A frame that does not come behind the last one is of the same source begun anew.
        if follower is None or frame <= follower.frame:
            if not self._interleaved:
                self._followers.clear()
            follower = self._followers[source] = Follower(source, self.settings, self._places, self._tell)
        return follower.follow(frame, time, result, size_wh)

    def end(self, source: str) -> None:
        """Forget a source: it is over."""
        self._followers.pop(source, None)


def followers_for(
    settings: FollowSettings,
    task: str,
    classes: Sequence[str],
    *,
    in_boxes: bool = False,
    interleaved: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Followers | None:
    """What follows the results of a task; None where nothing is to be followed.

    Args:
        settings: what to follow.
        task: detect, landmarks or localize.
        classes: of the model.
        in_boxes: whether landmarks are those of several objects, found by a detector.
        interleaved: as for `Followers`.
        tell: likewise.

    Raises:
        UsageError: the task has nothing of the kind, or the file of zones cannot be used.
    """
    if not settings.follows:
        return None
    if settings.tracks and not (task == "detect" or (task == "landmarks" and in_boxes)):
        hint = "Name weights that find them with --detector" if task == "landmarks" else "Use it with the task detect"
        raise UsageError(f"--track and --zones follow objects in boxes, which the results of {task} are not", hint=hint)
    if settings.smooth is not None and task not in ("landmarks", "localize"):
        raise UsageError("--smooth is for points and for the box of the task localize", hint="Use --track for objects")
    return Followers(settings, classes if task == "detect" else (), interleaved=interleaved, tell=tell)


class Follower:
    """Follows what moves in one source.

    Args:
        source: its name.
        settings: what to follow.
        places: lines and zones, if there are some.
        tell: as for `Followers`.
    """

    def __init__(
        self, source: str, settings: FollowSettings, places: Places | None, tell: Callable[[str], None]
    ) -> None:
        self._tell = tell
        self.frame = -1
        self._source = source
        self._settings = settings
        self._places = places
        self._counting: Counting | None = None
        self._trackers = ClassTrackers(settings.track_threshold, settings.track_patience)
        self._known: dict[int, Known] = {}
        self._traces: dict[int, deque[tuple[float, float, float]]] = {}
        self._smoothers: dict[int, OneEuro] = {}

    def follow(self, frame: int, time: float, result: Result, size_wh: tuple[int, int]) -> Result:
        """As `Followers.follow`, for a frame of this source."""
        self.frame = frame
        if isinstance(result, Detections) and self._settings.tracks:
            ids = self._numbers(result.boxes, result.scores, result.labels, time)
            return replace(result, ids=ids, motion=self._motion(result.classes, time, size_wh))
        if isinstance(result, Landmarks):
            if result.boxes is not None:
                # Instances have the detector's boxes and no score of it: all of them count.
                count = len(result.boxes)
                ids = self._numbers(result.boxes, torch.ones(count), torch.zeros(count, dtype=torch.int64), time)
                result = replace(result, ids=ids, motion=self._motion(_INSTANCES, time, size_wh))
            return result if self._settings.smooth is None else self._smoothed(result, time, self._settings.smooth)
        if isinstance(result, Localization) and self._settings.smooth is not None:
            return self._smoothed_box(result, time, self._settings.smooth)
        return result

    def _numbers(self, boxes: Tensor, scores: Tensor, labels: Tensor, time: float) -> Tensor:
        """The numbers of a frame's objects; what is known of them is brought up to date."""
        ids = self._trackers.update(boxes.numpy(), scores.numpy(), labels.numpy(), time)
        alive = self._trackers.alive
        self._known = {n: replace(known, seen=False) for n, known in self._known.items() if n in alive}
        self._traces = {n: trace for n, trace in self._traces.items() if n in alive}
        self._smoothers = {n: smoother for n, smoother in self._smoothers.items() if n in alive}
        for number, box, label in zip(ids.tolist(), boxes.numpy(), labels.tolist(), strict=True):
            if number != NO_ID:
                self._known[number] = Known(number, box, label, seen=True)
                x, y = (box[:2] + box[2:]) / 2
                self._traces.setdefault(number, deque()).append((time, float(x), float(y)))
        return torch.from_numpy(ids)

    def _motion(self, names: Sequence[str], time: float, size_wh: tuple[int, int]) -> Motion:
        for trace in self._traces.values():
            while len(trace) > 1 and trace[0][0] < time - _TRACE_SECONDS:
                trace.popleft()
        traces = {n: np.array(trace)[:, 1:] for n, trace in self._traces.items() if self._known[n].seen}
        if self._places is None:
            return Motion((), traces, self._settings.track_threshold)
        if self._counting is None:
            self._counting = Counting(self._places, self._source, size_wh)
            for name in self._counting.outside:
                self._tell(
                    f"'{name}' lies beyond the frames of '{self._source}', which are {size_wh[0]} x {size_wh[1]}"
                )
        shapes = self._counting.update(list(self._known.values()), names)
        return Motion(shapes, traces, self._settings.track_threshold)

    def _smoothed(self, result: Landmarks, time: float, seconds: float) -> Landmarks:
        measured, scores = result.points.double().numpy(), result.visible.double().numpy()
        if result.boxes is None:
            keys, sizes = [_SINGLE], [size_of(measured[0])]
        else:
            assert result.ids is not None
            keys, sizes = result.ids.tolist(), [size_of(box.reshape(2, 2)) for box in result.boxes.double().numpy()]
        points = measured.copy()
        for place, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            # Who has no number has no past.
            if key != NO_ID:
                points[place] = self._smoother(key, seconds)(measured[place], scores[place], time, size)
        return replace(result, points=torch.from_numpy(points), measured=result.points)

    def _smoothed_box(self, result: Localization, time: float, seconds: float) -> Localization:
        if result.present < _PRESENT:
            self._smoothers.clear()
            return replace(result, measured=result.box)
        corners = result.box.double().numpy().reshape(2, 2)
        trust = np.full(2, result.present)
        smoothed = self._smoother(_SINGLE, seconds)(corners, trust, time, size_of(corners))
        return replace(result, box=torch.from_numpy(smoothed.reshape(4)), measured=result.box)

    def _smoother(self, key: int, seconds: float) -> OneEuro:
        return self._smoothers.setdefault(key, OneEuro(seconds))

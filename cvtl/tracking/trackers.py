"""Numbers for objects that stay the same from frame to frame: ByteTrack, one for each class.

Y. Zhang et al.: ByteTrack: Multi-Object Tracking by Associating Every Detection Box. ECCV 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from trackers import ByteTrackTracker

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

NO_ID = -1
# In frames of this rate the library counts patience and speed. Times are given, so the video's own does not matter.
_FRAMES_A_SECOND = 30.0
_LEAST_STEP = 1e-3
# As the paper has it: below, boxes are of anything.
_LEAST_SCORE = 0.1


class ClassTrackers:
    """Gives the objects of one source numbers: 1, 2, ... in the order in which they become sure.

    An object becomes sure when it has been seen in two frames. Objects of different classes are never one. What is in
    here belongs to one source, so that numbers do not depend on other sources, or on earlier runs of the process.

    Args:
        threshold: least score of an object that gets a number; weaker ones, down to 0.1, only continue one that has it.
        patience: seconds for which an object that is not seen keeps its number.

    Example:
        >>> trackers = ClassTrackers()
        >>> box, score, label = np.array([[10.0, 10.0, 30.0, 30.0]]), np.array([0.9]), np.array([0])
        >>> [trackers.update(box + 2 * n, score, label, n / 10).tolist() for n in range(3)]
        [[-1], [1], [1]]
    """

    def __init__(self, threshold: float = 0.5, patience: float = 1.0) -> None:
        self._threshold = threshold
        self._patience = patience
        self._trackers: dict[int, ByteTrackTracker] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._given = 0
        self._time: float | None = None

    @property
    def given(self) -> int:
        """How many objects have got a number so far."""
        return self._given

    @property
    def alive(self) -> set[int]:
        """Numbers of the objects that are seen, or were seen not too long ago."""
        return set(self._numbers.values())

    def update(self, boxes: Floats, scores: Floats, labels: Ints, time: float) -> Ints:
        """The numbers of the next frame's objects.

        Args:
            boxes: (N, 4), xyxy in pixels.
            scores: (N,) in [0, 1].
            labels: (N,), their classes.
            time: of the frame in seconds; where it is not later than the one before, it is taken as just behind it.

        Returns:
            (N,): numbers from 1, or -1 for those that are not followed.
        """
        time = time if self._time is None else max(time, self._time + _LEAST_STEP)
        self._time = time
        ids = np.full(len(boxes), NO_ID, np.int64)
        for label in sorted(self._trackers.keys() | set(labels.tolist())):
            of_class = np.flatnonzero((labels == label) & (scores >= min(self._threshold, _LEAST_SCORE)))
            ids[of_class] = self._update_class(label, boxes[of_class], scores[of_class], time)
        return ids

    def _update_class(self, label: int, boxes: Floats, scores: Floats, time: float) -> Ints:
        import supervision

        tracker = self._trackers.get(label)
        if tracker is None:
            tracker = self._trackers[label] = self._new_tracker()
        # The tracker gives objects back in an order of its own.
        found = supervision.Detections(
            xyxy=boxes.astype(np.float64),
            confidence=scores.astype(np.float64),
            data={"place": np.arange(len(boxes))},
        )
        followed = tracker.update(found, timestamp=time)
        ids = np.full(len(boxes), NO_ID, np.int64)
        if len(followed):
            assert followed.tracker_id is not None
            ids[followed.data["place"]] = [self._number(label, number) for number in followed.tracker_id.tolist()]
        self._forget(label, tracker)
        return ids

    def _new_tracker(self) -> ByteTrackTracker:
        from trackers import ByteTrackTracker

        return ByteTrackTracker(
            lost_track_buffer=max(1, round(self._patience * _FRAMES_A_SECOND)),
            frame_rate=_FRAMES_A_SECOND,
            track_activation_threshold=self._threshold,
            high_conf_det_threshold=self._threshold,
        )

    def _number(self, label: int, within_class: int) -> int:
        if within_class < 0:
            return NO_ID
        key = (label, within_class)
        if key not in self._numbers:
            self._given += 1
            self._numbers[key] = self._given
        return self._numbers[key]

    def _forget(self, label: int, tracker: ByteTrackTracker) -> None:
        alive = {track.tracker_id for track in tracker.tracks}
        for key in [key for key in self._numbers if key[0] == label and key[1] not in alive]:
            del self._numbers[key]
        if not alive:
            # The next one of this class counts from 0 again; nothing remembers these numbers any more.
            del self._trackers[label]

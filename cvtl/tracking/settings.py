"""What to make of the order of a video's frames. Torch-free: the command line shows these fields."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from cvtl.options import Options


class FollowSettings(Options):
    """What is followed from frame to frame of a video or a live source; pictures are no frames."""

    track: bool = Field(
        False, description="give each object a number that it keeps from frame to frame; frames need to be of one video"
    )
    track_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        description="least score of an object that gets a number; weaker ones, down to 0.1, continue one that has it",
    )
    track_patience: float = Field(
        1.0, gt=0, le=600, description="seconds for which an object that is not seen keeps its number"
    )
    zones: str | None = Field(
        None, description="YAML file with lines and zones: who crosses, who is inside; implies --track"
    )
    smooth: float | None = Field(
        None,
        gt=0,
        le=5,
        description="seconds over which what stands still is averaged, against trembling, 0.1 for example; what moves "
        "is followed at once; if unset, results are as measured",
    )

    @property
    def follows(self) -> bool:
        """Whether earlier frames matter at all."""
        return self.track or self.zones is not None or self.smooth is not None

    @property
    def tracks(self) -> bool:
        """Whether objects get numbers."""
        return self.track or self.zones is not None

    def identity(self) -> dict[str, Any]:
        """What rows depend on, the zones by what is in their file: a run goes on only with the same.

        Raises:
            UsageError: the zones cannot be read.
        """
        if not self.follows:
            return {}
        from cvtl.tracking.zone_file import digest

        said = self.model_dump(mode="json", exclude={"zones"})
        return {"follow": said | ({} if self.zones is None else {"zones": digest(self.zones)})}

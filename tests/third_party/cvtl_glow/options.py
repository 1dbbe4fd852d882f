"""Options of the glow plugin."""

from pydantic import Field

from cvtl.options import Options


class GlowPredictOptions(Options):
    """What may be changed when it runs."""

    capacity: int | None = Field(None, description="pictures that fit the memory at a time")
    fails_at_width: int | None = Field(None, description="pictures so wide make the model fail")
    nan_at_width: int | None = Field(None, description="pictures so wide give a score that is no number")
    seconds: float = Field(0.0, description="slept for each batch")


class GlowOptions(Options):
    """What may be changed when it is trained."""

    gain: float = Field(1.0, description="how steep the answer is")
    predict: GlowPredictOptions = Field(default_factory=GlowPredictOptions)

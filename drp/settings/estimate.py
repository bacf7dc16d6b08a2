"""What `drp estimate` cannot know: how fast the machine is, how long responses are, how often a reply is refused."""

from typing import Annotated

from pydantic import Field

from drp.settings.section import OPERATIONAL, PositiveInt, Section

PositiveFloat = Annotated[float, Field(gt=0)]


class EstimateSettings(Section):
    """`drp estimate`."""

    sampling_tokens_per_second: Annotated[PositiveFloat | None, OPERATIONAL] = None
    """Generated tokens a second, all GPUs together; None: as this run directory's own generate or eval went."""
    training_tokens_per_second: Annotated[PositiveFloat | None, OPERATIONAL] = None
    """Tokens trained on a second, all GPUs together, prompts included; None: as this run directory's own train went."""
    tokens_per_response: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Length of a response that is not sampled yet; None: the mean of those that are, else the paper's."""
    reask_share: Annotated[float, Field(ge=0), OPERATIONAL] = 0.1
    """Calls to allow for replies that fail a check and are asked for again, a share of all calls."""

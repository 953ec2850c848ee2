"""The room that `exgra data validate` assumes is that of the default configuration."""

from medmllm.data.doctor.lengths import Limits
from medmllm.settings.schema import SCRATCH_SIZE, Config


def test_the_limits_are_those_of_the_default_model():
    vision, language = Config().model.vision, Config().model.language
    places = ((vision.image_size or SCRATCH_SIZE) // vision.patch_size) ** 2
    assert Limits() == Limits(language.max_length, places, language.vocab_size)

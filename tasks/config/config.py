"""Everything a person can set. Frozen pydantic models; the sentence under a field is its help in `--help` and in the UI.

Validation is pure: it reads no file, asks no device and changes no value. What needs the data (does the file exist,
does the vocabulary fit) is checked where the request of the stage is built.
"""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.data import DataConfig, PreparationConfig
from tasks.config.finetuning import FinetuneConfig
from tasks.config.model import ModelConfig, TokenizerConfig
from tasks.config.parallel import ParallelConfig
from tasks.config.rules import check_batches, check_lengths, check_mesh, check_profile, check_test_pages, check_vocabulary
from tasks.config.section import NAME_PATTERN, Section
from tasks.config.training import ConvergenceConfig, LaunchConfig, PretrainConfig


class RegistryConfig(Section):
    model_config = ConfigDict(title="Registry")

    model_name: str = Field("demo", pattern=NAME_PATTERN)
    """Registered models are called MODEL_NAME-base and MODEL_NAME-FINETUNE."""


class Config(Section):
    model_config = ConfigDict(title="Configuration")

    description: str = ""
    """One sentence on what this preset is for."""
    data: DataConfig = DataConfig()
    """The pre-training text."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """The tokenizer: taken or trained."""
    model: ModelConfig = ModelConfig()
    """The model's shape."""
    pretrain: PretrainConfig = PretrainConfig()
    """How it is pre-trained."""
    convergence: ConvergenceConfig = ConvergenceConfig()
    """When it counts as pre-trained."""
    finetune: tuple[FinetuneConfig, ...] = ()
    """The fine-tunes that follow."""
    registry: RegistryConfig = RegistryConfig()
    """Where its versions are recorded."""
    launch: LaunchConfig = LaunchConfig()
    """How training processes are started."""
    parallel: ParallelConfig = ParallelConfig()
    """How the model and its batches are divided over them."""
    preparation: PreparationConfig = PreparationConfig()
    """Where the text is prepared."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        layout = self.parallel.layout(self.launch.num_processes)
        check_lengths(self.model, self.pretrain, self.finetune)
        check_mesh(self.model, self.tokenizer, layout)
        check_batches(self.pretrain, self.finetune, layout)
        check_profile(self.launch, self.pretrain)
        check_vocabulary(self.model, self.tokenizer)
        check_test_pages(self.data, self.finetune)
        names = [finetune.name for finetune in self.finetune]
        if twice := sorted({name for name in names if names.count(name) > 1} | {n for n in names if n == "base"}):
            raise ValueError(f"finetune.name={twice[0]!r} is used twice, or is 'base'; choose another name")
        return self

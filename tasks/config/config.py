"""Everything a person can set. Frozen pydantic models; the sentence under a field is its help in `--help` and in the UI.

Validation is pure: it reads no file, asks no device and changes no value. What needs the data (does the file exist,
does the vocabulary fit) is checked where the request of the stage is built.
"""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.data import DataConfig, PreparationConfig
from tasks.config.finetuning import FinetuneConfig, FinetuneFile
from tasks.config.model import ModelConfig, TokenizerConfig
from tasks.config.parallel import ParallelConfig
from tasks.config.rules import check_batches, check_lengths, check_mesh, check_profile, check_test_pages, check_vocabulary
from tasks.config.section import MAX_NAME, NAME_PATTERN, Section
from tasks.config.training import ConvergenceConfig, LaunchConfig, PretrainConfig
from tasks.record.errors import ConfigError


class RegistryConfig(Section):
    model_config = ConfigDict(title="Registry")

    model_name: str | None = Field(None, pattern=NAME_PATTERN)
    """Name of the registered model, and first part of the names of the run's fine-tunes; empty means the run's name."""


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
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"finetune.name={twice[0]!r} is used twice; choose another name")
        return self

    def model_name(self, run: str) -> str:
        """What the registered model of the run is called."""
        return self.registry.model_name or run

    def finetunes(self, run: str) -> tuple[FinetuneFile, ...]:
        """The fine-tunes of the run, each as if it stood in a file of its own: from the run's model, by the run's processes."""
        made = []
        for one in self.finetune:
            name = f"{self.model_name(run)}-{one.name}"
            if len(name) > MAX_NAME:
                raise ConfigError(f"finetune[{one.name}] would be called {name!r}, longer than {MAX_NAME} letters; shorten it")
            made.append(FinetuneFile.of_run(name, one, one.base or f"run:{run}", self.launch, self.parallel))
        return tuple(made)

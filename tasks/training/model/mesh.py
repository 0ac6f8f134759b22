"""Where a rank stands in the mesh: which pipeline stage, which copy, which shard, which part of the matrices."""

import math

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from tasks.config.parallel import Layout
from tasks.training.model.ranks import Ranks

DIMENSIONS = ("pipeline", "replicate", "shard", "tensor")


class Mesh:
    """The ranks of one training run, numbered row-major over `DIMENSIONS`."""

    def __init__(self, layout: Layout, ranks: Ranks) -> None:
        """All ranks call it. Raises ValueError where the layout is of another world size."""
        if layout.world_size != ranks.world_size:
            raise ValueError(f"the layout ({layout}) is of {layout.world_size} ranks, and there are {ranks.world_size}")
        self.layout, self.ranks = layout, ranks
        sizes = (layout.pipeline_parallel, layout.replicate, layout.shard, layout.tensor_parallel)
        self.coordinate = {name: ranks.rank // math.prod(sizes[i + 1 :]) % sizes[i] for i, name in enumerate(DIMENSIONS)}
        self.device_mesh: DeviceMesh | None = None
        if ranks.world_size > 1:
            self.device_mesh = init_device_mesh(ranks.device.type, sizes, mesh_dim_names=DIMENSIONS)

    @property
    def data_rank(self) -> int:
        """Which share of the global batch this rank reads."""
        return self.coordinate["replicate"] * self.layout.shard + self.coordinate["shard"]

    @property
    def num_readers(self) -> int:
        """Ranks that read the same share of the global batch."""
        return self.layout.pipeline_parallel * self.layout.tensor_parallel

    @property
    def is_first_reader(self) -> bool:
        return self.coordinate["pipeline"] == self.coordinate["tensor"] == 0

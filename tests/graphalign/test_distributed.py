import subprocess
import sys

import torch

from graphalign.distributed import gather, world_size

PROGRAM = """
import sys
import torch
import torch.distributed as dist
from graphalign import AlignmentLoss
from graphalign.distributed import gather, world_size

torch.set_num_threads(1)
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
points = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0))
weight = torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
local = points[:, 4 * rank : 4 * rank + 4] @ weight
views = {name: gather(x) for name, x in zip("abc", local)}
loss = AlignmentLoss()(views, generator=torch.Generator().manual_seed(2)).loss
(loss * world_size()).backward()
dist.all_reduce(weight.grad)
weight.grad /= world_size()

whole = weight.detach().clone().requires_grad_()
expected = AlignmentLoss()(dict(zip("abc", points @ whole)), generator=torch.Generator().manual_seed(2)).loss
expected.backward()
assert whole.grad.abs().sum() > 0
torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
torch.testing.assert_close(weight.grad, whole.grad, atol=1e-6, rtol=1e-6)
try:
    gather(torch.zeros(2 + rank, 3))
except ValueError as error:
    assert "same shape on every process" in str(error)
else:
    raise SystemExit("different shapes were not refused")
dist.destroy_process_group()
print("equal")
"""


def test_one_process_gathers_nothing():
    x = torch.zeros(3, 2)
    assert gather(x) is x
    assert world_size() == 1


def test_two_processes_have_the_loss_and_gradient_of_one(tmp_path):
    """The alignment loss over a batch split in two, and the averaged gradient of shared weights."""
    command = [sys.executable, "-c", PROGRAM]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert out.decode().strip() == "equal", err.decode()


SEARCH = """
import sys
import torch
import torch.distributed as dist
from graphalign import Factors, Problem, Sparse

torch.set_num_threads(1)
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
random = torch.Generator().manual_seed(0)
x, y = torch.randn(1300, 4, generator=random), torch.randn(1700, 4, generator=random)
problem = Problem(Factors(x, y[torch.randint(0, 1700, (1700,), generator=random)]))  # some columns are equal
shared, alone = (Sparse(k=3, gap=1e-7, distributed=both)(problem) for both in (True, False))
assert torch.equal(torch.stack(shared.pairs()), torch.stack(alone.pairs()))
assert float(shared.bound) == float(alone.bound)
assert float(shared.gap) <= 1e-7
dist.destroy_process_group()
print("equal")
"""


def test_two_processes_share_the_scan_of_a_sparse_matching_and_find_what_one_finds(tmp_path):
    command = [sys.executable, "-c", SEARCH]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert out.decode().strip() == "equal", err.decode()

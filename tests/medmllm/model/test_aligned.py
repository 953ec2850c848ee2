"""The objective: what it adds up, and that two processes make one global batch of it."""

import socket

import pytest
import torch
import torch.multiprocessing as mp
from torch import distributed as dist

from medmllm.build import build_job
from medmllm.data.batches import step_generator
from medmllm.model.alignment import Timed


@pytest.fixture
def job(tiny):
    return build_job(tiny(train={"batch_size": 8, "caption_weight": 0.5}))


def batch(job, records):
    return job.reader.pack(records, captioning=True)


def gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_the_loss_is_the_weighted_sum_of_its_parts(job):
    out = job.model(batch(job, job.records[:8]), step_generator(0, 0))
    expected = out.answer_loss + 0.5 * out.caption_loss + out.alignment.loss.detach()
    torch.testing.assert_close(out.loss.detach(), expected)


def test_a_step_without_alignment_needs_no_texts(job):
    records = job.records[:8]
    slim = job.model(job.reader.pack(records, texts=()), weight=0)
    full = job.model(job.reader.pack(records), weight=0)
    assert (slim.alignment, list(slim.views)) == (None, ["image"])
    torch.testing.assert_close(slim.loss, full.loss)


def test_noise_is_a_function_of_seed_and_step(job):
    packed = batch(job, job.records[:8])
    first, again, other = (job.model(packed, step_generator(0, step)).alignment.loss.item() for step in (1, 1, 2))
    assert first == again
    assert again != other


def test_a_timed_solver_keeps_its_facts():
    import graphalign

    timed = Timed(graphalign.build("solver", "faq"))
    assert (timed.order, timed.seconds) == (2, 0.0)
    scores = graphalign.NodeEdge(torch.eye(3))
    assert torch.equal(timed(graphalign.Problem(scores)).matching, torch.eye(3))
    assert timed.seconds > 0


def half(rank, port, config, queue):
    """One of two processes: half of the batch, gradients averaged as distributed training does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    job = build_job(config)
    job.model(batch(job, job.records[rank * 4 : rank * 4 + 4]), step_generator(0, 0)).loss.backward()
    mean = gradient(job.model) / 2
    dist.all_reduce(mean)
    if rank == 0:
        queue.put(mean.tolist())
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_make_one_global_batch(job):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    queue = context.SimpleQueue()
    workers = [context.Process(target=half, args=(rank, port, job.config, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    together = torch.tensor(queue.get())
    for worker in workers:
        worker.join(60)
    job.model(batch(job, job.records[:8]), step_generator(0, 0)).loss.backward()
    alone = gradient(job.model)
    assert float((together - alone).norm() / alone.norm()) < 1e-5

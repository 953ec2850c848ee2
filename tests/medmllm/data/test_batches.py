from medmllm.data.batches import Sampler, step_generator


def test_an_epoch_holds_every_record_once():
    sampler = Sampler(size=12, batch_size=4, seed=3)
    assert sorted(i for step in range(3) for i in sampler.indices(step)) == list(range(12))


def test_epochs_and_seeds_differ_and_steps_repeat():
    sampler = Sampler(size=100, batch_size=50, seed=3)
    assert sampler.indices(0) == sampler.indices(0)
    assert sampler.indices(0) != sampler.indices(2)
    assert sampler.indices(0) != Sampler(size=100, batch_size=50, seed=4).indices(0)


def test_generators_of_neighbouring_seeds_and_steps_differ():
    first = {step_generator(seed, step).initial_seed() for seed in range(20) for step in range(50)}
    assert len(first) == 1000

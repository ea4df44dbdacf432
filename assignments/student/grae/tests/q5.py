from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3

@test_case(points=1, hidden=False)
def test_a_number_that_can_be_differentiated(loss):
    import torch
    from grae_lib import models
    model = models.build(shape=(6,), latent_dim=2, hidden=(5,), seed=6).double()
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value = loss(model, x, 0.3)
    assert value.ndim == 0, f'the loss has shape {tuple(value.shape)}; average over the batch'
    value.backward()
    assert all((p.grad is not None for p in model.decoder[0].parameters())), 'no gradient reaches the decoder: was a tensor detached?'


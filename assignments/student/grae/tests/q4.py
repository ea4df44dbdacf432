from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 4

@test_case(points=1, hidden=False)
def test_shape_and_one_latent(one_column):
    import torch
    w = torch.tensor([[3.0], [4.0]], dtype=torch.float64)
    z = torch.zeros(5, 1, dtype=torch.float64)
    got = one_column(lambda z: z @ w.T, z, 1.0, torch.zeros(5, dtype=torch.long))
    assert got.shape == (5,), f'the shape is {tuple(got.shape)}; expected (5,)'
    want = 0.5 * torch.log(torch.tensor(26.0, dtype=torch.float64))
    assert torch.allclose(got, want.expand(5)), 'with d = 1 it must equal the column form'


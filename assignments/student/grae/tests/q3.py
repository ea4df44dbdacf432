from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3

@test_case(points=1, hidden=False)
def test_orthogonal_columns(columns):
    import torch
    J = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).unsqueeze(0)
    got = columns(J, 0.5)
    want = 0.25 * torch.log1p(torch.tensor([2.0, 8.0, 18.0], dtype=torch.float64)).sum()
    assert got.shape == (1,), f'the shape is {tuple(got.shape)}; expected (1,)'
    assert torch.allclose(got[0], want), f'you give {float(got[0]):.4f}, expected {float(want):.4f}'


from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3

@test_case(points=1, hidden=False)
def test_diagonal_precision(best_variances):
    import torch
    P = torch.diag(torch.tensor([2.0, 5.0, 10.0], dtype=torch.float64)).unsqueeze(0)
    got = best_variances(P)
    assert got.shape == (1, 3), f'the shape is {tuple(got.shape)}; expected (1, 3): variances only'
    assert torch.allclose(got[0], torch.tensor([0.5, 0.2, 0.1], dtype=torch.float64)), 'for a diagonal P the best Σ is its inverse'


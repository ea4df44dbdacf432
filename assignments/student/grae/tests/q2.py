from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3

@test_case(points=1, hidden=False)
def test_zero_jacobian_and_shape(log_det):
    import torch
    got = log_det(torch.zeros(4, 5, 3, dtype=torch.float64), 0.3)
    assert got.shape == (4,), f'the shape is {tuple(got.shape)}; expected one number an example, (4,)'
    assert torch.allclose(got, torch.zeros(4, dtype=torch.float64)), 'a constant decoder costs 0'


from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 3

@test_case(points=1, hidden=False)
def test_linear_decoder(jacobian):
    import torch
    W = torch.arange(12, dtype=torch.float64).reshape(4, 3)
    J = jacobian(lambda z: z @ W.T, torch.ones(5, 3, dtype=torch.float64))
    assert J.shape == (5, 4, 3), f'the shape is {tuple(J.shape)}; expected (B, n, d) = (5, 4, 3)'
    assert torch.allclose(J, W.expand(5, 4, 3)), 'the Jacobian of z ↦ W z is W for every example'


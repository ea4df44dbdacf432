from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 3

@test_case(points=1, hidden=False)
def test_the_prior_costs_nothing(rate):
    import torch
    got = rate(torch.zeros(3, 2), torch.ones(3, 2))
    assert got.shape == (3,), f'the shape is {tuple(got.shape)}; expected one number an example, (3,)'
    assert torch.allclose(got, torch.zeros(3)), 'for q = N(0, I) the rate is 0'


from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2

@test_case(points=1, hidden=False)
def test_no_turn_and_a_quarter_turn(turned_covariance):
    import torch
    S = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64)).unsqueeze(0)
    got = turned_covariance(S, 0)
    assert got.shape == (1, 2, 2), f'the shape is {tuple(got.shape)}; expected (1, 2, 2)'
    assert torch.allclose(got, S), 'at θ = 0 the covariance must not change'
    quarter = turned_covariance(S, 90)
    assert torch.allclose(quarter[0].diagonal(), S[0].diagonal().flip(0)), 'a quarter turn swaps the two variances; are your angles in degrees?'


from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 4

@test_case(points=1, hidden=False)
def test_zero_where_it_must_be(mean_field_cost):
    import torch
    G = torch.diag(torch.tensor([1600.0, 100.0], dtype=torch.float64))
    assert abs(float(mean_field_cost(G, 1.0, 0))) < 1e-09, 'orthogonal columns cost nothing at θ = 0'
    assert abs(float(mean_field_cost(G, 1.0, 90))) < 1e-09, 'nor at a quarter turn'
    same = torch.eye(2, dtype=torch.float64) * 7
    assert abs(float(mean_field_cost(same, 1.0, 33))) < 1e-09, 'with equal norms the posterior is round, and no angle costs anything'


from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 4

@test_case(points=1, hidden=False)
def test_collapse(linear_optimum):
    import torch
    D, R = linear_optimum(torch.tensor([0.5, 0.3], dtype=torch.float64), 2, 0.6)
    assert abs(float(R)) < 1e-12, 'at β above every eigenvalue the rate is 0'
    assert abs(float(D) - 0.4) < 1e-12, 'and the distortion is half the total variance'


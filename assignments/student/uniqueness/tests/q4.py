from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 2

@test_case(points=1, hidden=False)
def test_gaussian_latents(covariance_of_squares):
    import torch
    z = torch.randn(200000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    got = float(covariance_of_squares(z))
    assert abs(got) < 0.05, f'for Gaussian latents you give {got:.3f}; expected about 0'


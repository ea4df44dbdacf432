from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 4

@test_case(points=1, hidden=False)
def test_three_points(points):
    import math
    assert isinstance(points, list) and len(points) == 3, 'points must be a list of three pairs'
    assert all((len(p) == 2 and all((math.isfinite(v) for v in p)) for p in points)), 'each point is a pair (rate, distortion) of finite numbers'


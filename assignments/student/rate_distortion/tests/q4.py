from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3

@test_case(points=1, hidden=False)
def test_a_chord(chord_is_possible):
    assert chord_is_possible((3.0, 1.0), (2.0, 1.5), 0.2, 0.8) is True, 'here −ΔD/ΔR = 0.5'
    assert chord_is_possible((3.0, 1.0), (2.0, 2.5), 0.2, 0.8) is False, 'here −ΔD/ΔR = 1.5'

